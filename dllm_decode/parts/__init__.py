"""The kinds of parts, one file each: the base of their configs, the method they must have, what it may and must not do."""
