"""Runs programs that a model wrote, limited and apart from what judges them; `inside` is what runs in their processes.

What is promised and what is not is in docs/programs.md.
"""

from dllm_decode.programs.inside.limits import Limits
from dllm_decode.programs.names import names_tested
from dllm_decode.programs.permission import is_permitted, permitted, require, require_for
from dllm_decode.programs.runner import ByTests, ByValues, Verdict, run

__all__ = [
    "ByTests",
    "ByValues",
    "Limits",
    "Verdict",
    "is_permitted",
    "names_tested",
    "permitted",
    "require",
    "require_for",
    "run",
]
