"""dllm-decode as a model of lm-evaluation-harness, which is imported by `lm`, `command` and nothing else here.

`likelihood` holds the Monte-Carlo estimate, `arguments` what `--model_args` may say, `answers` how requests are decoded.
"""
