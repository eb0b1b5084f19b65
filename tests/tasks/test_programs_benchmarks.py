"""The real HumanEval and MBPP files: their own answers pass, another example's and empty ones do not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dllm_decode.programs import ByTests, Limits, names_tested, permitted, run

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _programs_may_run() -> Iterator[None]:
    with permitted():
        yield


def human_eval(folder: Path) -> list[Row]:
    with gzip.open(folder / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def mbpp(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / "mbpp_test.jsonl").read_text(encoding="utf-8").splitlines()]


def human_eval_job(row: Row, answer: str) -> ByTests:
    name = row["entry_point"]
    tests = f"{row['test']}\ncheck({name})"
    return ByTests(row["prompt"] + answer, tests, [name], setup=row["prompt"], limits=Limits(seconds=15))


def mbpp_job(row: Row, answer: str) -> ByTests:
    tests = "\n".join(row["test"])
    return ByTests(answer, tests, names_tested(tests, row["code"]), limits=Limits(seconds=15))


def open_compass(answer: str) -> str:
    """The end of OpenCompass's extraction for MBPP: one quote is dropped from either end."""
    return answer.strip().removeprefix("'").removesuffix("'")


def refused(jobs: list[ByTests]) -> list[int]:
    return [number for number, verdict in enumerate(run(jobs)) if not verdict]


@pytest.mark.slow
def test_every_own_answer_of_human_eval_passes(data_folder: Path) -> None:
    rows = human_eval(data_folder)
    assert len(rows) == 164
    assert refused([human_eval_job(row, row["canonical_solution"]) for row in rows]) == []


@pytest.mark.slow
def test_own_answers_of_mbpp_pass_but_for_one_whose_tests_need_what_the_file_has_not(data_folder: Path) -> None:
    rows = mbpp(data_folder)
    assert len(rows) == 500
    ids = [row["task_id"] for row in rows]
    jobs = [mbpp_job(row, row["code"]) for row in rows]
    assert [ids[number] for number in refused(jobs)] == [367]
    assert "name 'root' is not defined" in run([jobs[ids.index(367)]])[0].reason
    # These end in a quote, which OpenCompass's extraction takes for the end of its frame.
    cut = [mbpp_job(row, open_compass(row["code"])) for row in rows if row["code"].rstrip().endswith("'")]
    assert refused(cut) == list(range(len(cut)))
    assert [row["task_id"] for row in rows if row["code"].rstrip().endswith("'")] == [44, 217, 337]


@pytest.mark.slow
def test_wrong_answers_of_both_are_refused(data_folder: Path) -> None:
    rows = human_eval(data_folder)
    others = [human_eval_job(row, rows[n - 1]["canonical_solution"]) for n, row in enumerate(rows)]
    assert len(refused(others + [human_eval_job(row, "") for row in rows])) == 2 * len(rows)
    rows = mbpp(data_folder)
    jobs = [mbpp_job(row, rows[n - 1]["code"]) for n, row in enumerate(rows)]
    assert len(refused(jobs + [mbpp_job(row, "") for row in rows])) == 2 * len(rows)


def test_names_of_tests_are_those_that_the_reference_defines() -> None:
    reference = "import math as m, os.path\nfrom re import sub\nA = B, C = 1, 2\nd: int = 3\nclass E: pass\ndef abs(x): return x"
    tests = "assert abs(len([A, B, C, d, E, m, os, sub, re, other])) == x"
    assert names_tested(tests, reference) == ("A", "B", "C", "E", "abs", "d", "m", "os", "sub")


def test_some_of_both_in_little_time(data_folder: Path) -> None:
    rows = human_eval(data_folder)[:60:2]
    assert refused([human_eval_job(row, row["canonical_solution"]) for row in rows]) == []
    assert len(refused([human_eval_job(row, "    return 0") for row in rows])) == len(rows)
    rows = mbpp(data_folder)[:60:2]
    assert refused([mbpp_job(row, row["code"]) for row in rows]) == []
