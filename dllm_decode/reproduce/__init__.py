"""A published comparison run again: which strategies, side by side on the same examples, beside the published figures."""
