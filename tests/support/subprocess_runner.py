"""Runs recorded programs, each in a fresh interpreter, and says which came to their end.

For the answers written by hand in recorded verdicts, not for a model's: it isolates nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Nothing but the end of the program prints the token, `os._exit` and SystemExit included; `__name__` is not "__main__".
_CHILD = """
import io, math, os, resource, sys
limit = math.ceil(3 * float(sys.argv[3]))
resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
program = open(sys.argv[1], encoding="utf-8", newline="").read()
end = os.dup(1)
sys.stdout = io.StringIO()
sys.stdin = io.StringIO()
exec(program, {})
os.write(end, sys.argv[2].encode())
"""


def run_programs(programs: Sequence[str], seconds: float) -> list[bool]:
    """Returns whether each program came to its end in time; two at a time."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        numbered = list(enumerate(programs))
        return list(pool.map(lambda item: _run(Path(folder), *item, seconds), numbered))


def _run(folder: Path, number: int, program: str, seconds: float) -> bool:
    path = folder / f"{number}.py"
    # Written as it is: a carriage return in the program is a character, not a line's end of this system.
    path.write_bytes(program.encode("utf-8", "surrogatepass"))
    token = f"ended-{number}-{id(program)}"
    command = [sys.executable, "-I", "-c", _CHILD, str(path), token, str(seconds)]
    try:
        # Three times the processor's seconds and sixty times the clock's: one gold answer takes three seconds by itself,
        # and a busy machine's clock runs on while the program waits. No recorded case turns on the limit.
        done = subprocess.run(command, capture_output=True, timeout=60 * seconds, cwd=folder, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.stdout.endswith(token.encode())
