"""Programs that a model wrote: none can make itself right, outlive its run, or reach what is not its own."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dllm_decode.errors import ConfigError
from dllm_decode.programs import ByTests, ByValues, Limits, Verdict, permitted, run, slots
from dllm_decode.programs.inside import server

linux = pytest.mark.skipif(sys.platform != "linux", reason="what only Linux promises")
QUICK = Limits(seconds=5)
BRIEF = Limits(seconds=1)
"""For programs that do not end by themselves."""
PLUS_3 = [((1,), 4), ((5,), 8)]
CHECK = "def check(candidate):\n    assert candidate(1) == 4\n    assert candidate(5) == 8\ncheck(f)"


@pytest.fixture(params=["fenced", "open"], autouse=True, scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test with namespaces, where the system has them, and without."""
    no_fence = threading.Event()
    if request.param == "open":
        no_fence.set()
    made: list[slots.Slot] = []
    with pytest.MonkeyPatch.context() as patch, permitted():
        patch.setattr(slots, "_no_fence", no_fence)
        patch.setattr(slots, "_free", queue.SimpleQueue())
        patch.setattr(slots, "_made", made)
        patch.setenv("HF_TOKEN", "secret")
        run([ByValues("def f(): return 1", "f", [((), 1)])])
        if made[0].fenced is (request.param == "open"):
            pytest.skip("this system has no user namespaces")
        yield request.param
    for slot in made:
        slot.close()


def by_values(program: str, limits: Limits = QUICK) -> Verdict:
    """Judge a program that should add 3 by its values."""
    return run([ByValues(program, "f", PLUS_3, limits)])[0]


def by_tests(program: str, tests: str = CHECK, limits: Limits = QUICK, setup: str = "") -> Verdict:
    """Judge a program that should add 3 by tests that are a program."""
    return run([ByTests(program, tests, ["f"], setup, limits)])[0]


def both(program: str, limits: Limits = QUICK) -> list[bool]:
    """Judge a program in both ways."""
    return [by_values(program, limits).passed, by_tests(program, limits=limits).passed]


def test_a_right_program_is_right_and_a_wrong_one_wrong() -> None:
    assert both("def f(x):\n    return x + 3") == [True, True]
    assert both("def f(x):\n    return x + 2") == [False, False]
    assert both("") == [False, False]
    assert both("def f(x)") == [False, False]


def test_real_builtins_and_imports_are_there() -> None:
    program = "import math, re, collections\nfrom typing import List\n"
    assert both(program + "class A:\n    pass\ndef f(x):\n    return len(sorted([0] * math.gcd(x, 0))) + 3") == [True, True]


ALWAYS_EQUAL = """
class Any{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __sub__(self, other): return self
    __rsub__ = __add__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __sub__
    def __abs__(self): return self
    def __bool__(self): return True
def f(x): return Any()
"""


@pytest.mark.parametrize("base", ["", "(int)", "(list)", "(str)", "(dict)", "(tuple)", "(Exception)"])
def test_equality_cannot_be_forged(base: str) -> None:
    program = ALWAYS_EQUAL.format(base=base)
    assert both(program) == [False, False]
    assert not by_tests(program, "assert abs(f(1) - 4) < 0.001")
    assert not by_tests(program, "assert 4 in f(1)")
    assert not by_tests(program, "assert f(1) in [4]")
    assert not by_tests(program, "assert [f(1)] == [4]")
    assert not by_tests(program, "assert 4 == f(1)")


def test_a_changed_built_in_changes_nothing_for_the_tests() -> None:
    program = """
import builtins, math
def yes(*args, **named): return True
abs = all = any = len = sorted = isinstance = yes
for name in ("abs", "all", "any", "len", "sorted", "isinstance", "AssertionError"): setattr(builtins, name, yes)
math.isclose = yes
def f(x): return -1
"""
    tests = "import math\nassert abs(f(1) - 4) < 1e-6\nassert all([f(1) == 4])\nassert math.isclose(f(1), 4)"
    for line in ["", *tests.splitlines()[1:]]:
        assert not by_tests(program, (line and f"import math\n{line}") or CHECK)


def test_a_function_of_the_setup_is_not_the_programs_to_change() -> None:
    setup = "def poly(x):\n    return x - 4"
    program = "def poly(x):\n    return 0\ndef f(x):\n    return {}"
    assert not by_tests(program.format("9"), "assert poly(f(1)) == 0", setup=setup)
    assert by_tests(program.format("x + 3"), "assert poly(f(1)) == 0", setup=setup)


SEARCH = """
import sys, gc
def found(thing):
    try: return "".join(("4711", "0815")) in repr(thing)
    except Exception: return False
def f(x):
    try: 1 / 0
    except Exception as error: frames = [error.__traceback__.tb_frame, sys._getframe()]
    for frame in frames:
        while frame:
            for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
                if found(value): return "".join(("4711", "0815"))
            frame = frame.f_back
    return next(("".join(("4711", "0815")) for thing in gc.get_objects() if found(thing)), "nowhere")
"""


def test_wanted_values_are_in_no_frame_and_no_object_of_the_program() -> None:
    for want, passed in (("nowhere", True), ("47110815", False)):
        assert run([ByValues(SEARCH, "f", [((1,), want)], QUICK)])[0].passed is passed
        assert by_tests(SEARCH, f"other = '47110815'\nassert f(1) == {want!r}").passed is passed
    assert by_tests(SEARCH, "assert f('47110815') == '47110815'"), "what a program is given it finds"


@linux
def test_the_memory_of_a_program_does_not_hold_its_tests() -> None:
    program = """
import re
def f(x):
    maps = [line.split() for line in open("/proc/self/maps")]
    with open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            low, high = (int(part, 16) for part in line[0].split("-"))
            if "r" in line[1] and high - low < 1 << 28 and line[-1] not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                memory.seek(low)
                if re.search(b"SECRE[T]-567[8]", memory.read(high - low)): return "found"
    return "clean"
"""
    for text, answer in ((program, "clean"), ("kept = 'SECRET-' + str(5678)\n" + program, "found")):
        verdict = by_tests(text, f"marker = 'SECRET-5678'\nassert f(1) == {answer!r}")
        # A fenced program has no /proc at all; nor may any but root's look at itself.
        assert verdict or verdict.reason.startswith(("FileNotFoundError", "PermissionError")), verdict.reason


@linux
def test_no_other_process_can_be_looked_into() -> None:
    program = """
import glob, os
def f(x):
    opened = []
    for folder in glob.glob("/proc/[0-9]*"):
        if folder.endswith(f"/{os.getpid()}"): continue
        for name in ("mem", "environ"):
            try:
                with open(f"{folder}/{name}", "rb") as file:
                    if name == "mem" or file.read(1): opened.append(f"{folder}/{name}")
            except OSError: pass
    return opened
"""
    assert run([ByValues(program, "f", [((1,), [])], QUICK)])[0]
    verdict = by_tests(program, "found = f(1)\nassert found == [], found")
    assert verdict, verdict.reason


DESCRIPTORS = """
import os, json, struct
def message(value):
    data = json.dumps(value).encode()
    return struct.pack("!I", len(data)) + data
right = [{"passed": True, "reason": ""}, {"ready": True}, {"ended": 1}, True, 1, "1"]
for number in range(64):
    for value in right:
        for data in (message(value), b"1\\n", b"."):
            try: os.write(number, data)
            except OSError: pass
def f(x): return 0
"""


@pytest.mark.parametrize(
    "answer",
    ["{}", "[]", "1", "null", '"value"', '{"passed": true}', '{"raised": 1}', '{"value": {"v": 4}}', '{"value": {"t": 1}}',
     '{"value": {"t": "like", "v": 4}}', '{"value": {"t": "ref", "v": 4}}', '{"value": true}', '{"value": [4]}', "[" * 90000],
    ids=lambda answer: answer[:40],
)  # fmt: skip
def test_what_a_program_writes_to_its_channel_is_at_most_a_value(answer: str) -> None:
    program = f"""
import os, struct
data = {answer!r}.encode()
for number in range(3, 64):
    for _ in range(8):
        try: os.write(number, struct.pack("!I", len(data)) + data)
        except OSError: break
def f(x): return 0
"""
    assert both(program) == [False, False]


def test_no_descriptor_takes_a_verdict() -> None:
    assert both(DESCRIPTORS) == [False, False]
    good, jobs = "def f(x):\n    return x + 3", []
    for program in (good, DESCRIPTORS, good, DESCRIPTORS, good):
        jobs += [ByValues(program, "f", PLUS_3, QUICK), ByTests(program, CHECK, ["f"], limits=QUICK)]
    assert [verdict.passed for verdict in run(jobs)] == [True, True, False, False] * 2 + [True, True]


@linux
def test_a_program_has_no_descriptor_but_its_own_channel() -> None:
    program = "import os\ndef f(x):\n    found = []\n    for n in range(3, 64):\n        try: os.fstat(n)\n"
    program += "        except OSError: continue\n        found.append(n)\n    return len(found)"
    for judged in (ByValues(program, "f", [((1,), 1)], QUICK), ByTests(program, "assert f(1) == 1", ["f"], limits=QUICK)):
        assert run([judged])[0]


def processes_with(marker: str) -> list[str]:
    """Return the processes whose command line holds a text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if marker in words:
                found.append(folder.name)
    return found


FORKS = """
import os, signal, subprocess, sys, time
def f(x):
    if x == 1:
        for way in range(3):
            if os.fork() == 0:
                if way: os.setsid()
                if way == 2 and os.fork(): os._exit(0)
                for each in range(1, 65):
                    try: signal.signal(each, signal.SIG_IGN)
                    except (OSError, ValueError): pass
                os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(97)", "{marker}"])
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(97)", "{marker}"], start_new_session=True)
        time.sleep(0.3)
    return x + 3
"""


@linux
def test_forks_do_not_outlive_their_program() -> None:
    marker = f"outlives-{os.getpid()}-{time.monotonic_ns()}"
    assert both(FORKS.format(marker=marker)) == [True, True]
    assert processes_with(marker) == []


def test_memory_is_limited() -> None:
    started = time.monotonic()
    assert both("def f(x):\n    y = bytearray(1 << 40)\n    return x + 3") == [False, False]
    assert both("def f(x):\n    y = []\n    while True: y.append('a' * (1 << 24))", BRIEF) == [False, False]
    verdict = by_values("def f(x):\n    return bytearray(3 << 29)")
    assert "MemoryError" in verdict.reason
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "flood",
    [
        "import sys\nwhile True: sys.stdout.write('a' * 65536)",
        "import os\nwhile True: os.write(2, b'a' * 65536)",
        "def f(x): return 'a' * (60 << 20)",
        "def f(x): raise ValueError('a' * (60 << 20))",
        "def f(x): return [[]] * (10 ** 8)",
    ],
)
def test_floods_of_output_are_endured(flood: str) -> None:
    assert both(flood, BRIEF) == [False, False]


def test_a_program_may_print() -> None:
    assert both("print('a' * (1 << 22))\ndef f(x):\n    print(x)\n    return x + 3") == [True, True]


@pytest.mark.parametrize(
    "end",
    [
        "os._exit(0)",
        "sys.exit(0)",
        "quit()",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "os.abort()",
        "os.kill(os.getpid(), 9)",
        "os.killpg(0, 9)",
        "ctypes.string_at(0)",
        "os.close(3); os.close(4); os.close(5); os.close(6); os.close(7)",
        "os.closerange(0, 1000)",
        "sys.setrecursionlimit(10 ** 9); (lambda g: g(g))(lambda g: g(g))",
        "threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(1)",
    ],
)
def test_an_end_before_the_answer_is_no_answer(end: str) -> None:
    imports = "import ctypes, os, sys, threading, time\n"
    assert both(f"{imports}def f(x):\n    {end}\n    return 0", BRIEF) == [False, False]
    assert both(f"{imports}{end}\ndef f(x):\n    return 0", BRIEF) == [False, False]
    assert both("def f(x):\n    return x + 3") == [True, True]


def test_signals_do_not_hold_a_program_up_and_reach_nobody_else() -> None:
    program = """
import os, signal
for each in range(1, 65):
    try: signal.signal(each, signal.SIG_IGN)
    except (OSError, ValueError): pass
for target in (os.getppid(), -1, 0):
    try: os.kill(target, 15)
    except OSError: pass
def f(x):
    while True: pass
"""
    started = time.monotonic()
    assert both(program, BRIEF) == [False, False]
    assert time.monotonic() - started < 15
    assert both("def f(x):\n    return x + 3") == [True, True]


@linux
def test_orphans_are_found_where_the_kernel_does_not_list_children() -> None:
    assert server._parent(Path(f"/proc/{os.getpid()}/stat")) == os.getppid()
    assert server._parent(Path("/proc/none/stat")) is None


@linux
def test_others_cannot_be_killed(world: str) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        program = "import os\nfor target in ({}, {}, os.getppid(), -1):\n    try: os.kill(target, 9)\n"
        program += "    except OSError: pass\ndef f(x):\n    return x + 3"
        assert both(program.format(bystander.pid, os.getpid())) == [True, True]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_files_of_others_stay_as_they_are(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    victim.chmod(0o666)
    tmp_path.chmod(0o777)
    program = f"""
import os, shutil
for act in (lambda: open({str(victim)!r}, "w").write("theirs"), lambda: os.truncate({str(victim)!r}, 0),
            lambda: os.remove({str(victim)!r}), lambda: shutil.rmtree({str(tmp_path)!r}),
            lambda: open({str(tmp_path / "new")!r}, "w"), lambda: os.mkdir({str(tmp_path / "folder")!r})):
    try: act()
    except Exception: pass
def f(x): return x + 3
"""
    assert both(program) == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["victim.txt"] and victim.read_text() == "mine"


def test_a_program_has_a_folder_of_its_own_that_goes_with_it() -> None:
    program = "import os\nleft = os.listdir('.')\nopen('kept.txt', 'w').write('x' * 1000)\n"
    program += "def f(x):\n    return [left, len(open('kept.txt').read()), os.getcwd()]"
    for _ in range(2):
        verdict = by_tests(program, "left, size, where = f(1)\nassert left == [] and size == 1000\nraise KeyError(where)")
        folder = verdict.reason.removeprefix("KeyError: ").strip("'\"")
        assert folder.startswith("/") and not os.path.exists(folder)


@linux
def test_files_cannot_grow_without_end() -> None:
    program = "def f(x):\n    with open('big', 'wb') as file:\n        for _ in range(200): file.write(bytes(1 << 20))\n"
    program += "    return x + 3"
    assert both(program) == [False, False]


@linux
def test_open_files_are_limited() -> None:
    assert both("kept = [open('/dev/null') for _ in range(1000)]\ndef f(x):\n    return x + 3") == [False, False]


def test_the_environment_is_empty() -> None:
    assert os.environ["HF_TOKEN"] == "secret"
    program = "import os, subprocess, sys\ndef f(x):\n    return [dict(os.environ), subprocess.run([sys.executable, '-c', "
    program += "'import os; print(sorted(set(os.environ) - {\"LC_CTYPE\"}))'], capture_output=True, text=True).stdout]"
    assert run([ByValues(program, "f", [((1,), [{}, "[]\n"])], QUICK)])[0]


def test_a_fenced_program_sees_no_files_of_the_user(world: str, tmp_path: Path) -> None:
    if world == "open":
        pytest.skip("only namespaces hide files")
    (tmp_path / "token").write_text("secret")
    hidden = [str(tmp_path), "/proc/1", "/etc/passwd", "/var", "/sys"]
    program = f"import os\ndef f(x):\n    return [os.path.exists(path) for path in {hidden!r}]"
    assert run([ByValues(program, "f", [((1,), [False] * len(hidden))], QUICK)])[0]


@linux
def test_there_are_no_sockets() -> None:
    program = """
import socket
def f(x):
    made = 0
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try: socket.socket(family, kind)
            except OSError: continue
            made += 1
    try: socket.create_connection(("127.0.0.1", PORT), timeout=1)
    except OSError: return made
    return "connected"
"""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        text = program.replace("PORT", str(server.getsockname()[1]))
        assert run([ByValues(text, "f", [((1,), 0)], QUICK)])[0]
        assert by_tests(text, "assert f(1) == 0")


@pytest.mark.parametrize(
    "program",
    [
        "def f(x): return f(x)",
        "def f(x):\n    y = []\n    for _ in range(10 ** 5): y = [y]\n    return y",
        "def f(x):\n    y = []\n    y.append(y)\n    return y",
        "def f(x):\n    while True: pass",
        "while True: pass",
        "import time\ndef f(x):\n    time.sleep(60)",
        "import threading\nt = threading.Thread(target=lambda: [0 for _ in iter(int, 1)])\nt.start()\ndef f(x):\n    t.join()",
    ],
)
def test_what_does_not_end_is_ended(program: str) -> None:
    started = time.monotonic()
    assert both(program, BRIEF) == [False, False]
    assert time.monotonic() - started < 20


def test_time_is_the_programs_own_and_waiting_ends_a_little_later() -> None:
    started = time.monotonic()
    assert by_values("import time\ndef f(x):\n    time.sleep(60)", BRIEF).reason == "not done after 3 s"
    assert 3 <= time.monotonic() - started < 15


def test_threads_that_keep_running_end_with_the_answer() -> None:
    program = "import threading\ndef spin():\n    while True: pass\nfor _ in range(4): threading.Thread(target=spin).start()\n"
    assert both(program + "def f(x):\n    return x + 3") == [True, True]


def test_a_fork_bomb_ends_with_its_time() -> None:
    started = time.monotonic()
    assert both("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", BRIEF) == [False, False]
    assert time.monotonic() - started < 40
    assert both("def f(x):\n    return x + 3") == [True, True]


def test_without_leave_no_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dllm_decode.programs.permission._given", 0)
    with pytest.raises(ConfigError, match="--run-programs"):
        run([ByValues("", "f", PLUS_3)])


def test_programs_do_not_import_torch() -> None:
    assert run([ByValues("import sys\ndef f():\n    return 'torch' in sys.modules", "f", [((), False)])])[0]
