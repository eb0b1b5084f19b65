"""Measurements of what the engine costs beyond the model; not part of the installed packages."""
