"""Latin squares over four given symbols, and 4x4 sudokus.

An answer is sixteen symbols, row by row. Any Latin square counts, and any solution that keeps the
puzzle's digits, so that cells decoded in one step must agree without having seen one another.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

from dllm_decode.errors import DataError
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.files import csv_rows, json_lines
from dllm_decode.tasks.generated.base import GeneratedTask

SYMBOLS = tuple("ABCDEFGHJKLMNPRSTUVWXYZ")
LATIN_PHRASINGS = (
    "Write a Latin square over {symbols}.",
    "Fill a 4x4 grid with {symbols}, each once in every row and column.",
    "Latin square: {symbols}.",
)
SUDOKU_PHRASINGS = (
    "Complete the sudoku {puzzle}.",
    "Sudoku: {puzzle}.",
    "Fill in the blanks of the sudoku {puzzle}.",
)
_Grid = tuple[tuple[int, ...], ...]


class SquareTask(GeneratedTask):
    """Writes a Latin square or completes a sudoku; half the examples are of each kind."""

    name: ClassVar[str] = "square"
    description: ClassVar[str] = "Write any 4x4 Latin square over four symbols, or complete a 4x4 sudoku."
    gen_length: ClassVar[int] = 24

    def sample(self, rng: random.Random) -> Example:
        if rng.random() < 0.5:
            symbols = rng.sample(SYMBOLS, 4)
            grid = rng.choice(latin_squares())
            prompt = rng.choice(LATIN_PHRASINGS).format(symbols=", ".join(symbols))
            answer = "".join(f" {symbols[cell]}" for row in grid for cell in row)
            return Example("", prompt, answer, {"kind": "latin", "symbols": symbols})
        solution = "".join(str(cell + 1) for row in rng.choice(sudoku_grids()) for cell in row)
        blanks = set(rng.sample(range(16), rng.randint(4, 12)))
        puzzle = "".join("0" if cell in blanks else digit for cell, digit in enumerate(solution))
        prompt = rng.choice(SUDOKU_PHRASINGS).format(puzzle=puzzle)
        return Example("", prompt, solution, {"kind": "sudoku", "puzzle": puzzle})

    def score(self, example: Example, text: str) -> bool:
        meta = example.meta
        if meta["kind"] == "latin":
            cells = [cell for cell in re.split(r"[\s,;|\[\]'\"]+", text) if cell]
            return set(cells) == set(meta["symbols"]) and is_latin(cells)
        digits = re.sub(r"[\s,;|]", "", text)
        if len(digits) != 16:
            return False
        if any(given not in ("0", digit) for given, digit in zip(meta["puzzle"], digits, strict=True)):
            return False
        return set(digits) == set("1234") and is_latin(digits) and has_distinct_boxes(digits)

    def load(self, path: Path) -> list[Example]:
        """Reads sudokus from CSV (``Puzzle,Solution``), ParallelBench's Latin squares and sudokus from JSONL."""
        if path.suffix.lower() == ".csv":
            return [_sudoku(row, path, number) for number, row in csv_rows(path, ("Puzzle", "Solution"))]
        return [_from_record(record, path, number) for number, record in json_lines(path)]


def is_latin(cells: str | list[str]) -> bool:
    """Says whether sixteen cells, row by row, repeat no symbol in a row or a column."""
    if len(cells) != 16:
        return False
    lines = [cells[4 * row : 4 * row + 4] for row in range(4)] + [cells[column::4] for column in range(4)]
    return all(len(set(line)) == 4 for line in lines)


def has_distinct_boxes(cells: str | list[str]) -> bool:
    """Says whether each of the four 2x2 boxes holds four different cells."""
    return all(len({cells[start + offset] for offset in (0, 1, 4, 5)}) == 4 for start in (0, 2, 8, 10))


@cache
def latin_squares() -> tuple[_Grid, ...]:
    """Returns the 576 Latin squares of order four."""
    grids: list[_Grid] = [()]
    for _ in range(4):
        grids = [
            (*grid, row)
            for grid in grids
            for row in permutations(range(4))
            if all(row[column] != above[column] for above in grid for column in range(4))
        ]
    return tuple(grids)


@cache
def sudoku_grids() -> tuple[_Grid, ...]:
    """Returns the 288 completed 4x4 sudokus."""
    return tuple(
        grid for grid in latin_squares() if has_distinct_boxes([str(cell) for row in grid for cell in row])
    )


def _sudoku(row: dict[str, str], path: Path, number: int) -> Example:
    puzzle, solution = row["Puzzle"], row["Solution"]
    if not re.fullmatch(r"[0-4]{16}", puzzle):
        raise DataError(
            f"{path}, line {number}: Puzzle must be 16 digits 0 to 4 (0 is a blank), got {puzzle!r}"
        )
    if not re.fullmatch(r"[1-4]{16}", solution):
        raise DataError(f"{path}, line {number}: Solution must be 16 digits 1 to 4, got {solution!r}")
    meta = {"kind": "sudoku", "puzzle": puzzle}
    example = Example(f"{path.name}:{number}", SUDOKU_PHRASINGS[0].format(puzzle=puzzle), solution, meta)
    if not SquareTask().score(example, solution):
        raise DataError(f"{path}, line {number}: Solution {solution} does not solve Puzzle {puzzle}")
    return example


def _from_record(record: dict[str, Any], path: Path, number: int) -> Example:
    inputs, answer = record.get("input"), record.get("answer")
    if not isinstance(inputs, dict) or not {"context", "symbols", "sudoku"} & set(inputs):
        raise DataError(
            f'{path}, line {number}: expected {{"input": {{"symbols": ...}}, "answer": ...}}, or "context" or "sudoku" in '
            "the input"
        )
    if "sudoku" in inputs:
        cells = {"Puzzle": inputs["sudoku"], "Solution": answer}
        return _sudoku({name: re.sub(r"\s", "", str(text)) for name, text in cells.items()}, path, number)
    field = "symbols" if "symbols" in inputs else "context"
    example = _latin(inputs[field], f"input.{field}", path, number)
    own = answer.get("example") if isinstance(answer, dict) else answer
    if own is None:
        return example
    if not SquareTask().score(example, str(own)):
        symbols = ", ".join(example.meta["symbols"])
        raise DataError(f"{path}, line {number}: its own answer {own!r} is no Latin square over {symbols}")
    cells_of = [cell for cell in re.split(r"[\s,;|\[\]'\"]+", str(own)) if cell]
    return replace(example, reference="".join(f" {cell}" for cell in cells_of))


def _latin(context: Any, field: str, path: Path, number: int) -> Example:
    symbols = (
        [str(symbol) for symbol in context] if isinstance(context, list) else re.findall(r"\w+", str(context))
    )
    if len(symbols) != 4 or len(set(symbols)) != 4:
        raise DataError(
            f"{path}, line {number}: {field} must hold four different symbols, got {context!r}"
        )
    prompt = LATIN_PHRASINGS[0].format(symbols=", ".join(symbols))
    reference = "".join(f" {symbols[cell]}" for row in latin_squares()[0] for cell in row)
    return Example(f"{path.name}:{number}", prompt, reference, {"kind": "latin", "symbols": symbols})
