"""The study: what is tried, in which order, and where it is kept."""
