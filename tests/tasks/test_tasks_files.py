"""Reading other people's data files: each format, and each way a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dllm_decode.errors import DataError
from dllm_decode.tasks.base import Task
from dllm_decode.tasks.generated.arithmetic import ArithmeticTask
from dllm_decode.tasks.generated.code import CodeTask
from dllm_decode.tasks.generated.countdown import CountdownTask
from dllm_decode.tasks.generated.facts import FactsTask
from dllm_decode.tasks.generated.line import LineTask
from dllm_decode.tasks.generated.square import SquareTask


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_countdown_reads_numbers_and_target_and_finds_a_reference_itself(tmp_path: Path) -> None:
    path = _file(
        tmp_path, "cd.jsonl", '{"input": "30,100,93", "output": "23"}\n\n{"input": "6,7,2", "output": "84"}\n'
    )
    examples = CountdownTask().load(path)
    assert [example.id for example in examples] == ["cd.jsonl:1", "cd.jsonl:3"]
    assert examples[0].prompt == "Numbers: 30, 100, 93. Target: 23."
    assert all(CountdownTask().score(example, example.reference) for example in examples)
    assert "*" in examples[1].reference


def test_square_reads_sudokus_from_csv_with_leading_zeros_kept(tmp_path: Path) -> None:
    path = _file(tmp_path, "s.csv", "Puzzle,Solution\n0234341221434321,1234341221434321\n")
    (example,) = SquareTask().load(path)
    assert "0234341221434321" in example.prompt
    assert SquareTask().score(example, "1234341221434321")


def test_square_reads_latin_squares_from_jsonl(tmp_path: Path) -> None:
    lines = (
        '{"input": {"context": "A, B, C, D"}, "answer": null}\n{"input": {"context": ["1", "2", "3", "4"]}}\n'
    )
    first, second = SquareTask().load(_file(tmp_path, "latin.jsonl", lines))
    assert first.meta["symbols"] == ["A", "B", "C", "D"]
    assert SquareTask().score(second, "1 2 3 4 2 1 4 3 3 4 1 2 4 3 2 1")


def test_line_reads_the_operation_from_the_file_name_or_the_line(tmp_path: Path) -> None:
    lines = '{"input": {"context": ["Ann", "Bob", "Cy"], "word": "Dee", "index": 1}, "answer": ["Ann", "Dee", "Cy"]}\n'
    (example,) = LineTask().load(_file(tmp_path, "replace_index.jsonl", lines))
    assert example.meta["operation"] == "replace_index"
    assert LineTask().score(example, "Ann, Dee, Cy")
    lines = '{"task": "shuffle", "input": {"context": "Ann, Bob, Cy"}, "answer": null}\n'
    (example,) = LineTask().load(_file(tmp_path, "some.jsonl", lines))
    assert LineTask().score(example, "Cy, Bob, Ann")


# Lines as ParallelBench publishes them: a list in a string, names of two words, answers as strings or objects.
COPY = (
    r'{"input":{"context":"[\"Billy Ramos\", \"Alan Wells\", \"Grace Wright\"]","icl_examples":[]},'
    r'"answer":"[\"Billy Ramos\", \"Alan Wells\", \"Grace Wright\"]","metadata":{"length":3}}'
)
INSERT = (
    r'{"input":{"context":"[\"Ann Lee\", \"Bo May\"]","word":"Cy Oz"},"answer":{"input":["Ann Lee","Bo May"],'
    r'"word":"Cy Oz","example":"[\"Cy Oz\", \"Ann Lee\", \"Bo May\"]"}}'
)
LATIN = '{"input":{"size":4,"symbols":"[H, 4, C, A]"},"answer":{"symbols":["H","4","C","A"],"example":"%s"}}'
SQUARE = r"H,4,A,C\n4,C,H,A\nC,A,4,H\nA,H,C,4"
SUDOKU = r'{"input": {"sudoku": "0042\n2031\n4023\n3214"}, "answer": "%s", "metadata": {"length": 12}}'


def test_a_published_name_of_two_words_is_one_name(tmp_path: Path) -> None:
    task = LineTask()
    (copy,) = task.load(_file(tmp_path, "copy.jsonl", COPY + "\n"))
    assert copy.meta["names"] == ["Billy Ramos", "Alan Wells", "Grace Wright"]
    assert copy.prompt == "Copy the line: Billy Ramos, Alan Wells, Grace Wright."
    for answer in ("Billy Ramos, Alan Wells, Grace Wright", '["Billy Ramos", "Alan Wells", "Grace Wright"]',
                   " Billy Ramos,\nAlan  Wells, 'Grace Wright'."):  # fmt: skip
        assert task.score(copy, answer)
    for answer in ("Billy, Ramos, Alan, Wells, Grace, Wright", "Billy Ramos Alan Wells Grace Wright",
                   "Alan Wells, Billy Ramos, Grace Wright"):  # fmt: skip
        assert not task.score(copy, answer)
    (insert,) = task.load(_file(tmp_path, "insert_random.jsonl", INSERT + "\n"))
    assert insert.reference == " Cy Oz, Ann Lee, Bo May"
    assert task.score(insert, "Ann Lee, Cy Oz, Bo May")
    assert not task.score(insert, "Cy Oz, Bo May, Ann Lee")


def test_published_squares_and_sudokus_keep_their_own_answers(tmp_path: Path) -> None:
    task = SquareTask()
    (latin,) = task.load(_file(tmp_path, "latin.jsonl", LATIN % SQUARE + "\n"))
    assert latin.meta["symbols"] == ["H", "4", "C", "A"]
    assert latin.reference == " H 4 A C 4 C H A C A 4 H A H C 4"
    assert task.score(latin, latin.reference)
    (sudoku,) = task.load(_file(tmp_path, "sudoku.jsonl", SUDOKU % r"1342\n2431\n4123\n3214" + "\n"))
    assert sudoku.meta["puzzle"] == "0042203140233214"
    assert task.score(sudoku, sudoku.reference)


@pytest.mark.parametrize(
    ("task", "name", "text", "message"),
    [
        (LineTask(), "reverse.jsonl", COPY + "\n", "line 1: its own answer .* is not right for reverse"),
        (LineTask(), "remove_random.jsonl", '{"input": {"context": ["A", "B"]}, "answer": ["A", "B"]}\n', "its own answer"),
        (SquareTask(), "a.jsonl", LATIN % SQUARE.replace("H,4,A,C", "4,H,A,C") + "\n", "is no Latin square over H, 4, C, A"),
        (SquareTask(), "a.jsonl", SUDOKU % r"1342\n2431\n4123\n3241" + "\n", "does not solve"),
        (SquareTask(), "a.jsonl", '{"input": {"size": 4}}\n', "line 1: expected"),
        (SquareTask(), "a.jsonl", '{"input": {"symbols": "[A, B]"}}\n', "input.symbols must hold four"),
        (CountdownTask(), "a.jsonl", '{"input": "1,2,3", "output": "6"}\nnonsense\n', "line 2: not JSON"),
        (CountdownTask(), "a.jsonl", '{"input": "1,x,3", "output": "6"}\n', "line 1: expected"),
        (CountdownTask(), "a.jsonl", '{"numbers": "1,2,3"}\n', "line 1: expected"),
        (CountdownTask(), "a.jsonl", '{"input": "1,1,1", "output": "99"}\n', "no chain"),
        (CountdownTask(), "a.jsonl", "[1, 2]\n", "expected a JSON object, got list"),
        (CountdownTask(), "a.jsonl", "\n", "holds no examples"),
        (SquareTask(), "a.csv", "Question,Answer\n", "line 1: expected the columns Puzzle,Solution"),
        (SquareTask(), "a.csv", "Puzzle,Solution\n", "holds no examples"),
        (SquareTask(), "a.csv", "Puzzle,Solution\n12,1234341221434321\n", "line 2: Puzzle must be 16 digits"),
        (SquareTask(), "a.csv", "Puzzle,Solution\n0234341221434321\n", "line 2: expected"),
        (SquareTask(), "a.csv", "Puzzle,Solution\n2000000000000000,1234341221434321\n", "line 2: Solution"),
        (SquareTask(), "a.jsonl", '{"input": {"context": "A, B"}}\n', "line 1: input.context must hold four"),
        (LineTask(), "copy.jsonl", '{"input": {}}\n', "line 1: expected"),
        (LineTask(), "data.jsonl", '{"input": {"context": ["A"]}}\n', "line 1: which operation"),
        (
            LineTask(),
            "remove_index.jsonl",
            '{"input": {"context": ["A"], "index": 4}}\n',
            "input.index must be",
        ),
        (LineTask(), "insert_random.jsonl", '{"input": {"context": ["A"]}}\n', "needs input.word"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(
    tmp_path: Path, task: Task, name: str, text: str, message: str
) -> None:
    path = _file(tmp_path, name, text)
    with pytest.raises(DataError, match=message) as failure:
        task.load(path)
    assert str(path) in str(failure.value)


@pytest.mark.parametrize("task", [FactsTask(), ArithmeticTask(), CodeTask()], ids=lambda task: task.name)
def test_a_task_without_a_file_format_says_so(tmp_path: Path, task: Task) -> None:
    with pytest.raises(DataError, match="reads no data files"):
        task.load(tmp_path / "any.jsonl")


def test_a_missing_file_and_a_binary_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        CountdownTask().load(tmp_path / "absent.jsonl")
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b'{"input": "1,2,3", "output": "6"}\n\xff\xfe\n')
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        CountdownTask().load(binary)
