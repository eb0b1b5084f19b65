"""A strategy on a task: outcomes kept one by one, and the record of the run."""
