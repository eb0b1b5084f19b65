"""The six tasks: what they accept, what they refuse, and that their splits are fixed and apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import pytest

from dllm_decode.errors import DecodeError
from dllm_decode.programs import permitted
from dllm_decode.tasks import TASKS, Example, Task, training_examples
from dllm_decode.tasks.generated.base import held_out_prompts
from dllm_decode.tasks.generated.code import CodeTask
from dllm_decode.tasks.generated.code_families import FAMILIES
from dllm_decode.tasks.generated.countdown import CountdownTask, chain_reaches
from dllm_decode.tasks.generated.facts import FactsTask
from dllm_decode.tasks.generated.facts_data import BOOKS, CAPITALS, CONTINENT_OF, ELEMENTS
from dllm_decode.tasks.generated.line import LineTask
from dllm_decode.tasks.generated.square import SquareTask, latin_squares, sudoku_grids

FIRST_PROMPT = {
    "line": "Bob, Fred, Carl, Paul. A random one leaves.",
    "square": "Latin square: Z, P, X, A.",
    "facts": "Give an element other than titanium with its symbol.",
    "arithmetic": "Work out 92+7-53+56.",
    "countdown": "Reach 31 from 99, 73, 5.",
    "code": "convert: a function that multiplies two numbers and adds 17.",
}
SPOILERS: tuple[Callable[[str], str], ...] = (
    lambda text: "",
    lambda text: text[: len(text) // 2],
    lambda text: text + "7",
    lambda text: "?" + text,
)


@pytest.fixture(autouse=True)
def _programs_may_run() -> Iterator[None]:
    with permitted():
        yield


every_task = pytest.mark.parametrize("task_type", TASKS, ids=lambda task_type: task_type.name)


@every_task
def test_every_reference_is_accepted(task_type: type[Task]) -> None:
    task = task_type()
    examples = task.examples("test", 200)
    assert all(task.score_many([(example, example.reference) for example in examples]))


@every_task
def test_corrupted_references_are_refused(task_type: type[Task]) -> None:
    task = task_type()
    examples = task.examples("test", 100)
    for spoil in SPOILERS:
        outcomes = task.score_many([(example, spoil(example.reference)) for example in examples])
        wrong = [example for example, right in zip(examples, outcomes, strict=True) if right]
        # Half a program may by chance be right; arithmetic reads what follows its marker, whatever came before.
        assert len(wrong) <= (100 if task.name == "arithmetic" and spoil("1") == "?1" else 2)


@every_task
def test_another_examples_answer_is_refused(task_type: type[Task]) -> None:
    task = task_type()
    examples = task.examples("test", 101)
    swapped = [(example, other.reference) for example, other in pairwise(examples)]
    assert sum(task.score_many(swapped)) <= 10


@every_task
def test_splits_are_seeded_large_unique_and_apart(task_type: type[Task]) -> None:
    task = task_type()
    tune, test = task.examples("tune"), task.examples("test")
    assert min(len(tune), len(test)) >= 500
    prompts = [example.prompt for example in tune + test]
    assert len(set(prompts)) == len(prompts)
    assert len({example.id for example in tune + test}) == len(prompts)
    assert task_type().examples("test", 7) == test[:7]


@every_task
def test_training_examples_never_hold_a_prompt_of_a_split(task_type: type[Task]) -> None:
    task = task_type()
    held_out = held_out_prompts(task)
    drawn = list(islice(training_examples([task], seed=3), 2000))
    assert not held_out & {example.prompt for example in drawn}
    assert drawn[:5] == list(islice(training_examples([task], seed=3), 5))


@every_task
def test_the_first_examples_of_a_split_do_not_change(task_type: type[Task]) -> None:
    """A split that drifts makes every published number false; change these only on purpose."""
    assert task_type().examples("test", 1)[0].prompt == FIRST_PROMPT[task_type.name]


@every_task
def test_an_unknown_split_is_an_error_that_lists_the_splits(task_type: type[Task]) -> None:
    with pytest.raises(DecodeError, match="tune and test"):
        task_type().examples("train")


def _line(operation: str, place: int = 0) -> Example:
    meta = {"operation": operation, "names": ["Ann", "Bob", "Cy"], "word": "Dee", "place": place}
    return Example("", "", "", meta)


@pytest.mark.parametrize(
    ("operation", "place", "right", "wrong"),
    [
        ("copy", 0, "Ann, Bob, Cy", "Ann, Cy, Bob"),
        ("reverse", 0, "Cy, Bob, Ann", "Ann, Bob, Cy"),
        ("sort", 0, "Ann, Bob, Cy", "Bob, Ann, Cy"),
        ("shuffle", 0, "Bob, Cy, Ann", "Bob, Bob, Ann"),
        ("insert_index", 1, "Ann, Dee, Bob, Cy", "Dee, Ann, Bob, Cy"),
        ("insert_random", 0, "Ann, Bob, Cy, Dee", "Ann, Cy, Bob, Dee"),
        ("remove_index", 1, "Ann, Cy", "Bob, Cy"),
        ("remove_random", 0, "Bob, Cy", "Cy, Bob"),
        ("replace_index", 2, "Ann, Bob, Dee", "Ann, Dee, Cy"),
        ("replace_random", 0, "Dee, Bob, Cy", "Ann, Bob, Cy"),
    ],
)
def test_the_line_accepts_every_right_line_and_no_other(
    operation: str, place: int, right: str, wrong: str
) -> None:
    assert LineTask().score(_line(operation, place), right)
    assert not LineTask().score(_line(operation, place), wrong)


def test_any_latin_square_over_the_symbols_counts() -> None:
    example = Example("", "", "", {"kind": "latin", "symbols": list("WXYZ")})
    for grid in latin_squares()[:: 576 // 20]:
        cells = ["WXYZ"[cell] for row in grid for cell in row]
        assert SquareTask().score(example, " ".join(cells))
        assert not SquareTask().score(example, " ".join(cells[1:] + cells[:1])) or cells[0] == cells[4]
    assert len(latin_squares()) == 576 and len(sudoku_grids()) == 288


def test_any_solution_of_a_sudoku_counts_but_none_that_changes_a_given() -> None:
    empty = Example("", "", "", {"kind": "sudoku", "puzzle": "0" * 16})
    given = Example("", "", "", {"kind": "sudoku", "puzzle": "1" + "0" * 15})
    outcomes = [
        (SquareTask().score(empty, text), SquareTask().score(given, text))
        for text in ("".join(str(cell + 1) for row in grid for cell in row) for grid in sudoku_grids())
    ]
    assert all(of_empty for of_empty, _ in outcomes)
    assert sum(of_given for _, of_given in outcomes) == 288 // 4
    assert not SquareTask().score(empty, "1234234134124123")


def test_an_open_question_accepts_every_true_pair_and_refuses_mixed_ones() -> None:
    task = FactsTask()
    opens = [
        example for example in task.examples("test") if "Africa" in example.prompt and "pairs" in example.meta
    ]
    example = next(example for example in opens if len(example.meta["pairs"]) == 1)
    for country, city in example.meta["pairs"][0]:
        assert task.score(example, f" {country}, {city}")
    assert not task.score(example, " Mali, Nairobi")
    assert not task.score(example, " France, Paris")


def test_there_are_at_least_150_facts() -> None:
    assert len(CAPITALS) + len(CONTINENT_OF) + len(ELEMENTS) + len(BOOKS) >= 150
    assert len(set(CAPITALS.values())) == len(CAPITALS) and len(set(ELEMENTS.values())) == len(ELEMENTS)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("30+93=123, 123-100=23", True),
        ("93+30=123,123-100=23", True),
        ("93-100=-7, 30-7=23", False),
        ("30+93=123", False),
        ("30+93=122, 122-100=22", False),
        ("30+30=60, 60-37=23", False),
        ("30+93=123, 123-100=23, 23+0=23", False),
        ("30+93=123, 93-70=23", False),
        ("", False),
    ],
)
def test_a_countdown_chain_must_use_every_number_once(text: str, right: bool) -> None:
    assert chain_reaches(text, [30, 100, 93], 23) is right
    example = Example("", "", "", {"numbers": [30, 100, 93], "target": 23})
    assert CountdownTask().score(example, text) is right


def _code(family: str, k: int = 3) -> Example:
    return Example("", f"{family} {k}", "", {"family": family, "function": "f", "k": k, "m": 2})


@pytest.mark.parametrize(
    ("family", "program", "right"),
    [
        ("add", "def f(x):\n    return x + 3", True),
        ("add", "def f(y):\n    return 3 + y", True),
        ("add", "def f(x):\n    return y + 3", False),
        ("add", "def g(x):\n    return x + 3", False),
        ("add", "def f(x)\n    return x + 3", False),
        ("divisible", "def f(n):\n    return not n % 3", True),
        ("divisible", "def f(n):\n    return n % 3", False),
        ("list-above", "def f(items):\n    return [i for i in items if 3 < i]", True),
        ("add", "def f(x):\n    while True: pass", False),
        ("add", "import os\ndef f(x):\n    return x + 3", True),
        ("add", "def f(x):\n    return [0] * 10 ** 12", False),
        ("text-upper", "def f(s):\n    return s.upper()", True),
    ],
)
def test_a_program_is_judged_by_what_it_returns(family: str, program: str, right: bool) -> None:
    assert CodeTask().score(_code(family), program) is right


def test_a_program_that_kills_the_worker_fails_alone() -> None:
    good = "def f(x):\n    return x + 3"
    deadly = "def f(x):\n    return (lambda: 0).__class__((lambda: 0).__code__.replace(co_code=b'\\xff' * 8), {})()"
    example = _code("add")
    assert CodeTask().score_many([(example, good), (example, deadly), (example, good)]) == [True, False, True]


def test_every_body_of_every_family_is_right() -> None:
    task, pairs = CodeTask(), []
    for family in FAMILIES:
        for body in family.bodies:
            text = f"def f({', '.join('abc'[: family.arity])}):\n    return {body.format(a='a', b='b', c='c', k=3, m=5)}"
            meta = {"family": family.name, "function": "f", "k": 3, "m": 5}
            pairs.append((Example("", f"{family.name}: {body}", "", meta), text))
    assert len(pairs) > len(FAMILIES) and all(task.score_many(pairs))
