"""`dllm-decode new-plugin`: writes a distribution with one part, its tests and its entry point, ready to change.

Knows the templates beside it and what the names in them become. Imports no torch by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dllm_decode.commands.options import Json
from dllm_decode.commands.output import print_json, results
from dllm_decode.errors import ConfigError, DataError, shown, unknown_name
from dllm_decode.files import user_path
from dllm_decode.plugins.registry import load_registry
from dllm_decode.tasks.files import read_rows

TEMPLATES = Path(__file__).parent / "plugin_template"
PREFIX = "dllm-decode-"
LONGEST = 60
"""Characters of a part's name."""
_TRY = 'dllm-decode generate "Sort the line: Paul, Anna, Ben." --set {}'
_IN_STEPS = f"{_TRY} --steps 8"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind's tests and README say."""

    summary: str
    variant: str = ""
    """Arguments of a second part for the suite."""
    mistake: str = ""
    """Arguments that its bounds refuse."""
    command: str = ""
    """A command line that uses the part."""


PROMPTS = ("prompt", "question", "problem", "instruction", "text", "input")
ANSWERS = ("answer", "output", "target", "solution", "response", "completion", "label")
"""What data sets call the columns of prompts and answers."""
KINDS = {
    "scheduler": Kind("A scheduler", "share=0.6", "share=0", _TRY.format("scheduler=example-name")),
    "confidence": Kind("A confidence", "decay=0.5", "decay=0", _IN_STEPS.format("confidence=example-name")),
    "layering": Kind(
        "A layering", "stride=2, rest_steps=1", "stride=1", _IN_STEPS.format("layering=example-name")
    ),
    "logits": Kind("A logits processor", "bias=5.0", "bias=1000", _IN_STEPS.format("logits=example-name")),
    "stop": Kind("A stop rule", "ends=2", "ends=0", _IN_STEPS.format("stop=example-name")),
    "cache": Kind("A cache policy", "margin=0", "margin=-1", _IN_STEPS.format("cache=example-name")),
    "block": Kind("A block policy", "first=2, growth=1", "first=0", _IN_STEPS.format("block=example-name")),
    "forward": Kind("A forward plan", "columns=1", "columns=0", _IN_STEPS.format("forward=example-name")),
    "revise": Kind(
        "A reviser",
        "threshold=0.2",
        "threshold=0",
        _TRY.format("scheduler=threshold --set revise=example-name"),
    ),
    "task": Kind("A task", command="dllm-decode eval --task example-name --limit 20"),
}
"""The kinds of plugin that are offered, with what their templates leave open."""
_SEARCH = {
    True: "Fields marked with `Tune` are varied by\n`dllm-decode search` without being told.",
    False: "`dllm-decode eval` and `dllm-decode search` take it by its name.",
}


def new_plugin(
    name: Annotated[str, typer.Argument(help="What the part is called, in kebab-case: my-rule.")],
    kind: Annotated[str, typer.Option("--kind", help=f"What it is: {', '.join(KINDS)}.")] = "scheduler",
    from_file: Annotated[
        Path | None,
        typer.Option("--from-file", help="With --kind task: a data set's file that the task reads (jsonl, json, csv, parquet)."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder in which the new one is made.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a plugin with its tests, to be changed into your own."""
    folder = write_plugin(name, kind, out, from_file)
    if as_json:
        print_json({"folder": str(folder), "files": sorted(path.name for path in folder.iterdir())})
        return
    console = results()
    for path in sorted(folder.iterdir()):
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    console.print(f"\ncd {folder}\npip install -e '.[test]'\npytest", markup=False, soft_wrap=True)


def write_plugin(name: str, kind: str, out: Path, from_file: Path | None = None) -> Path:
    """Write a distribution into a new folder of `out` and return the folder.

    Args:
        name: The part's name; a leading "dllm-decode-" is taken for the distribution's.
        kind: One of `KINDS`.
        out: An existing folder, or one to be made.
        from_file: For a task, the file of a data set that it reads; None for a task that draws its examples.

    Raises:
        ConfigError: The kind is unknown or reads no file, the name is no kebab-case name, or a part has it already.
        DataError: The new folder exists, or cannot be made, or the file cannot be read.
    """
    if kind not in KINDS:
        raise ConfigError(f"--kind: {unknown_name('kind of plugin', kind, KINDS)}")
    if from_file is not None and kind != "task":
        raise ConfigError(f"--from-file: goes with --kind task; a {kind} reads no data")
    name = name.removeprefix(PREFIX)
    _check_name(name, kind)
    folder = user_path(out) / f"{PREFIX}{name}"
    if folder.exists():
        raise DataError(f"{folder} exists already; choose another name, or another place with --out.")
    texts = _render(name, kind, {} if from_file is None else _columns(from_file))
    try:
        folder.mkdir(parents=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror}; choose another place with --out."
        ) from None
    return folder


def _check_name(name: str, kind: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
        better = "-".join(words).lstrip("0123456789-") or "my-rule"
        raise ConfigError(f"NAME {shown(name)} should be kebab-case and begin with a letter; try {better[:LONGEST]!r}.")
    if len(name) > LONGEST:
        raise ConfigError(f"NAME {shown(name)} should have at most {LONGEST} characters, which {len(name)} are not.")
    registry = load_registry()
    if name in registry.names(kind):
        raise ConfigError(
            f"NAME {name!r} is taken: {kind} {name!r} comes with {registry.origin(kind, name)}; two parts of one kind "
            "cannot share a name. Choose another."
        )


def _columns(file: Path) -> dict[str, str]:
    """Return placeholder -> Python text for a data set's file and the columns of prompt and answer.

    Columns are told by the names that data sets give them; where none is known, the first two columns are taken.
    """
    _, row = read_rows(file)[0]
    columns = list(row)
    if len(columns) < 2:
        raise DataError(f"{file}: a task needs a prompt and an answer, and there is one column: {columns[0]}")
    prompt = next((name for name in PROMPTS if name in row), columns[0])
    rest = [name for name in columns if name != prompt]
    answer = next((name for name in ANSWERS if name in rest), rest[0])
    texts = {"EXAMPLE-FILE": str(file.resolve()), "EXAMPLE-PROMPT": prompt, "EXAMPLE-ANSWER": answer}
    return {placeholder: json.dumps(text, ensure_ascii=False) for placeholder, text in texts.items()}


def _render(name: str, kind: str, data: Mapping[str, str]) -> dict[str, str]:
    """Return file name -> text; `data` are the placeholders of a task that reads a file, if it does."""
    module = f"{PREFIX}{name}".replace("-", "_")
    # A scheduler called my-scheduler is MyScheduler, and so is one called my.
    stem = "".join(word.capitalize() for word in name.removesuffix(f"-{kind}").split("-"))
    own = KINDS[kind]
    test = "test_task.py" if kind == "task" else "test_part.py"
    part = _template(f"{kind}.py")
    if data:
        test, part = "test_dataset.py", _template("dataset.py")
    files = {
        "pyproject.toml": _template("pyproject.toml"),
        "README.md": _template("README.md"),
        f"{module}.py": part,
        f"test_{name.replace('-', '_')}.py": _template(test),
    }
    meanings = {
        **data,
        "EXAMPLE-SUMMARY": own.summary,
        "EXAMPLE-COMMAND": own.command,
        "EXAMPLE-SEARCH": _SEARCH["Tune(" in part],
        "EXAMPLE-SUITE": f"{kind.title()}Suite",
        "EXAMPLE-KIND": kind,
        "EXAMPLE-VARIANT": own.variant,
        "EXAMPLE-MISTAKE": own.mistake,
        "ExampleNameSUFFIX": f"ExampleName{kind.title()}",
        f"ExampleName{kind.title()}": stem + kind.title(),
        "ExampleName": stem,
        "dllm_decode_example_name": module,
        "example-name": name,
    }
    for word, meaning in meanings.items():
        files = {file: text.replace(word, meaning) for file, text in files.items()}
    return files


def _template(file: str) -> str:
    return (TEMPLATES / f"{file}.template").read_text(encoding="utf-8")
