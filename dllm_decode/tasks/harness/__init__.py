"""Generation tasks of lm-evaluation-harness as tasks of this package; imports it when rows are wanted."""
