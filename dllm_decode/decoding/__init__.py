"""The decode: `plain` is the law, `loop` the same at full speed."""
