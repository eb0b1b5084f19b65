"""A virtual environment that holds a wheel and what the wheel declares to need, and nothing else.

What it needs is linked from the environment of the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def fresh_venv(folder: Path, wheel: Path) -> Path:
    """Make the environment and install the wheel with no extra; return the folder of its programs."""
    venv.create(folder, with_pip=False)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    place = Path(paths["purelib"])
    (installed,) = [Distribution.at(path) for path in place.glob("dllm_decode-*.dist-info")]
    for needed in _closure(installed).values():
        _link(needed, place)
    return programs


def _closure(root: Distribution) -> dict[str, Distribution]:
    """Return every distribution that one needs, directly or through others, by name."""
    found: dict[str, Distribution] = {}
    todo = [(root, "")]
    while todo:
        owner, extra = todo.pop()
        for text in owner.requires or ():
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
                continue
            try:
                one = distribution(wanted.name)
            except PackageNotFoundError:
                assert owner is not root, f"{text} is declared, and not installed here"
                continue
            if wanted.name not in found:
                found[wanted.name] = one
                todo += [(one, extra) for extra in ("", *wanted.extras)]
    return found


def _link(needed: Distribution, place: Path) -> None:
    """Link the top of everything that a distribution installed beside itself."""
    for name in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
        source, link = Path(str(needed.locate_file(name))), place / name
        if source.exists() and not link.exists():
            link.symlink_to(source, target_is_directory=source.is_dir())
