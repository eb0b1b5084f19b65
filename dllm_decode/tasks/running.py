"""Runs untrusted one-function programs in a worker process with limits; knows nothing of tasks.

The worker is started isolated (``-I -S``), with limits on CPU time, address space and file size, in an
empty folder. It speaks JSON over its pipes. A program that kills the worker fails alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence

Case = tuple[str, str, list[tuple[tuple[object, ...], object]]]
SECONDS_PER_PROGRAM = 2

_WORKER = """
import json, os, signal, sys
try:
    import resource
    for limit, value in (("RLIMIT_CPU", 120), ("RLIMIT_AS", 512 << 20), ("RLIMIT_FSIZE", 0), ("RLIMIT_NPROC", 0)):
        resource.setrlimit(getattr(resource, limit), (value, value))
except (ImportError, ValueError, OSError):
    pass
channel = os.fdopen(os.dup(1), "w")
sys.stdout = sys.stderr = open(os.devnull, "w")
SAFE = {name: __builtins__.__dict__[name] for name in (
    "abs all any bool dict divmod enumerate filter float int isinstance len list map max min pow range reversed "
    "round set sorted str sum tuple zip True False None ValueError TypeError".split())}
def expire(*_):
    raise TimeoutError
signal.signal(signal.SIGALRM, expire)
for request in sys.stdin:
    program, name, cases = json.loads(request)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        scope = {"__builtins__": dict(SAFE)}
        exec(compile(program, "answer", "exec"), scope)
        right = all(
            type(got) is type(want) and got == want
            for arguments, want in cases
            for got in [scope[name](*arguments)]
        )
    except BaseException:
        right = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(int(right), file=channel, flush=True)
"""


def run_cases(cases: Sequence[Case]) -> list[bool]:
    """Runs each program and says whether its function returned the wanted value for every input.

    Args:
        cases: (program text, function name, [(arguments, wanted value)]) with JSON-able values.
    """
    outcomes: list[bool] = []
    while len(outcomes) < len(cases):
        before = len(outcomes)
        outcomes += _run_until_death(cases[before:])
        if len(outcomes) < len(cases):
            outcomes.append(False)
    return outcomes


def _run_until_death(cases: Sequence[Case]) -> list[bool]:
    """Returns the outcomes up to the program that took the worker down, if one did."""
    requests = "".join(json.dumps(case) + "\n" for case in cases)
    worker = _WORKER.replace("SECONDS", str(SECONDS_PER_PROGRAM))
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            text=True,
        )
        try:
            answers, _ = process.communicate(requests, timeout=10 + SECONDS_PER_PROGRAM * len(cases))
        except subprocess.TimeoutExpired:
            process.kill()
            answers, _ = process.communicate()
    return [line == "1" for line in answers.split()]
