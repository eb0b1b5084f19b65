"""What may be composed: ranges, spaces, known strategies to begin with."""
