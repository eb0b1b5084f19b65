"""Published benchmarks as tasks; how they are asked and judged is in `published`."""
