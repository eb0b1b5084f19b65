"""Trains the embedded model: data pools, model, optimiser, loop, export. Not part of the package."""
