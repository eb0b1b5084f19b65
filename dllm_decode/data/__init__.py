"""What a decode is made of: canvas, blocks, statistics, what parts see and answer, noise, selection. Imports no torch."""
