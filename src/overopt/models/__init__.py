"""The only room that knows transformers: policies, reward models, tokenizers, their loading and saving."""
