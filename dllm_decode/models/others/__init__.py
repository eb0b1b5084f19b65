"""Masked language models of transformers, and the user's own module."""
