"""`python -m dllm_decode` is `dllm-decode`."""

import sys

from dllm_decode.cli import main

if __name__ == "__main__":
    sys.exit(main())
