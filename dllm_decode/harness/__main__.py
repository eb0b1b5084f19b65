"""`python -m dllm_decode.harness`: the command line of lm-evaluation-harness, to which `--model dllm-decode` is known."""

from __future__ import annotations

import sys

from dllm_decode.errors import DecodeError
from dllm_decode.harness.command import run

if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except DecodeError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)
