"""Looks at run directories and nothing else: tables and figures. Never imports torch or training."""
