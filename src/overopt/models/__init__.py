"""Policies, reward models and tokenizers, their loading and saving. Nothing else imports transformers."""
