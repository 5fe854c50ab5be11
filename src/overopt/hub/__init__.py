"""Models and data sets on the Hugging Face Hub: the only room that knows huggingface_hub, imported when first needed.

A location names a repository on the Hub or a path (`names.py`); what it names is fetched into the cache that all
Hugging Face libraries share (`download.py`). Nothing of a repository is ever run.
"""
