"""One forward: what is asked of the model, what is run, and how little of it is read."""
