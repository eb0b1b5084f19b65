"""A strategy as data: its parts and budget, how one is read, changed, named, and refused where parts do not fit."""
