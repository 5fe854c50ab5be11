"""A vLLM server as the sampler of rollouts: it runs in an environment of its own, and is spoken to by HTTP alone.

Followed: the documentation and the source of vLLM 0.32 (weight transfer since 0.30, where `/weight_info` came).
"""
