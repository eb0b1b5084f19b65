"""What a tried strategy is worth."""
