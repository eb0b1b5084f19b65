"""Where parts, recipes, tasks and model families come from: the hooks, and the registry of what was found."""
