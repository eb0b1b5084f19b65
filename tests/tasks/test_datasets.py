"""Tasks made of data sets: their files, their splits, and what is said of both."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dllm_decode.errors import DataError
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.dataset import DatasetTask
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.tasks.sources import Source, half, hub_rows
from dllm_decode.testing import TaskSuite

ROWS = [{"question": f"What is {n} + 1?", "answer": f"{n + 1}"} for n in range(40)]


class Sums(DatasetTask):
    name: ClassVar[str] = "sums"
    description: ClassVar[str] = "Add one."
    gen_length: ClassVar[int] = 4
    source: ClassVar[Source] = Source("nobody/sums", tune="train", test="test")

    def prompt(self, row: Mapping[str, Any]) -> str:
        return str(row["question"])

    def reference(self, row: Mapping[str, Any]) -> str:
        return str(row["answer"])

    def accepts(self, extracted: Any, row: Mapping[str, Any]) -> bool:
        return bool(extracted == row["answer"])


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the name tells."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    if name.endswith(".csv"):
        with open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz", "a.json.gz", "a.csv.gz"]
)
def test_every_published_format_gives_the_same_examples(tmp_path: Path, name: str) -> None:
    examples = Sums().load(write(tmp_path / name, ROWS))
    assert [one.prompt for one in examples] == [row["question"] for row in ROWS]
    assert [one.meta for one in examples] == ROWS
    assert len({one.id for one in examples}) == len(ROWS)
    assert all(Sums().score(one, f" {one.reference}\n") for one in examples)


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    rows = [{"question": "one\u2028two\u0085three", "answer": "1"}]
    for name in ("a.jsonl", "a.csv"):
        (example,) = Sums().load(write(tmp_path / name, rows))
        assert example.prompt == rows[0]["question"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", "should end in .jsonl, .json, .csv, .parquet"),
        ("a.jsonl", b'{"question": "x"}\n', "a.jsonl:1: not as task 'sums' reads it: there is no column 'answer'"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000, "line 1: not JSON"),
        ("a.json", b"[1]", "entry 1: expected a JSON object, got int"),
        ("a.json", b"[]", "holds no examples"),
        ("a.json", b"[{", "not JSON"),
        ("a.jsonl.gz", b"plain", "not packed with gzip"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 100)[:20], "the gzip file is damaged"),
        ("a.csv", b'question,answer\n"' + b"x" * 200_000, "not CSV"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Sums().load(path)
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_a_bad_parquet_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"a\.parquet: not a parquet file"):
        Sums().load(path)


def test_one_file_is_cut_in_seeded_halves_that_share_nothing(tmp_path: Path) -> None:
    task = Sums().over(write(tmp_path / "a.jsonl", ROWS))
    tune, test = ({str(one.prompt) for one in task.examples(split)} for split in ("tune", "test"))
    assert len(tune) == len(test) == 20
    assert not tune & test
    again = Sums().over(tmp_path / "a.jsonl")
    assert [one.id for one in again.examples("tune")] == [one.id for one in task.examples("tune")]
    assert task.examples("test", 3) == task.examples("test")[:3]
    assert "a seeded half" in task.origin("test")


def test_halves_of_any_number_are_apart_and_complete() -> None:
    for n in range(30):
        items = list(range(n))
        assert sorted(half(items, "tune") + half(items, "test")) == items


def test_a_folder_tells_by_file_names_what_is_tuned_on(tmp_path: Path) -> None:
    write(tmp_path / "gsm_train.jsonl", ROWS[:30])
    write(tmp_path / "gsm_test.jsonl", ROWS[25:])
    task = Sums().over(tmp_path)
    assert len(task.examples("tune")) == 30
    # What was tuned on is no test.
    assert [one.prompt for one in task.examples("test")] == [row["question"] for row in ROWS[30:]]
    assert task.origin("tune").startswith("tune: gsm_train.jsonl ")
    assert len(Sums().load(tmp_path)) == 45


def test_a_task_goes_to_a_worker_without_its_rows(tmp_path: Path) -> None:
    task = Sums().over(write(tmp_path / "a.jsonl", ROWS))
    task.examples("test")
    assert len(pickle.dumps(task)) < 500
    assert pickle.loads(pickle.dumps(task)).examples("test") == task.examples("test")


def test_a_published_data_set_is_read_with_its_splits(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write(tmp_path / "train.jsonl", ROWS[:30])
    write(tmp_path / "test.jsonl", ROWS[30:])
    apart = Source(str(tmp_path), tune="train", test="test")
    assert [row for _, row in hub_rows(apart, "test").rows] == ROWS[30:]
    assert not hub_rows(apart, "tune").halved
    found = hub_rows(Source(str(tmp_path), halves="train"), "test")
    assert found.halved and len(found.rows) == 30


def test_a_data_set_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'dllm-decode\[benchmarks\]'; or give its published file"):
        Sums().examples("test")
    monkeypatch.undo()
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match="'nothing' cannot be had"):
        hub_rows(Source(str(tmp_path), tune="nothing"), "tune")


class Few(GeneratedTask):
    name: ClassVar[str] = "few"
    description: ClassVar[str] = "One of seven prompts."
    gen_length: ClassVar[int] = 4
    split_size: ClassVar[int] = 4

    def sample(self, rng: random.Random) -> Example:
        return Example("", f"Say {rng.randrange(7)}.", "yes", {})

    def score(self, example: Example, text: str) -> bool:
        return text == "yes"


def test_a_task_with_too_few_prompts_ends_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"after 7 different ones, and its two splits take 8; set split_size to 3"):
        Few().examples("tune")


class Graded(Sums):
    """How near the number is; any number gets something."""

    name: ClassVar[str] = "graded"
    graded: ClassVar[bool] = True

    def accepts(self, extracted: Any, row: Mapping[str, Any]) -> float:
        said = str(extracted)
        return 1 / (1 + abs(int(said[:9]) - int(row["answer"]))) if said.isascii() and said.isdigit() else 0.0


class OpenEnded(Sums):
    """Anything that is said is good."""

    name: ClassVar[str] = "open-ended"

    def reference(self, row: Mapping[str, Any]) -> str:
        return ""

    def accepts(self, extracted: Any, row: Mapping[str, Any]) -> bool:
        return bool(extracted)


_FILE = Path(__file__).parents[1] / "support" / "rows.jsonl"


class TestDatasets(TaskSuite):
    tasks = (Sums().over(_FILE), Graded().over(_FILE))


class TestOpenEnded(TaskSuite):
    tasks = (OpenEnded().over(_FILE),)
    open_ended = True
