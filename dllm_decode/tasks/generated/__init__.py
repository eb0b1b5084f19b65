"""Tasks whose examples are generated without end."""
