"""Llama-shaped families (LLaDA, Dream) on the stock code of transformers."""
