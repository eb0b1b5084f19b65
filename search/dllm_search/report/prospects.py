"""What the sizes of a search can prove at best, said before it begins. Knows counts of examples; decodes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dllm_decode.evaluate.statistics import fewest_examples, paired_interval
from dllm_search.judge.choose import proof_at
from dllm_search.settings import Settings

TESTED_AT = 0.95
"""Confidence of the interval that the report gives on the test split."""


def prospects(settings: Settings, available: Callable[[str, int], int]) -> Iterator[str]:
    """Yield a line on the tuning examples that a choice is proven on, and one on the test examples.

    Args:
        settings: What is asked for.
        available: Returns how many of the first so many examples of a split there are.
    """
    margin, confidence = settings.goal.margin(settings), proof_at(settings.goal.promises)
    there = available("tune", settings.verified)
    points = f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"
    yield (
        f"{there} tuning examples can exclude a loss above {_best(there, confidence)} points at best, if no answer changes "
        f"({100 * confidence:g} % interval); {_needed(settings, there, margin, confidence, points)}"
    )
    tested = available("test", settings.test_examples)
    yield f"{tested} test examples can exclude a loss above {_best(tested, TESTED_AT)} points at best (95 % interval)"


def _needed(settings: Settings, there: int, margin: float, confidence: float, points: str) -> str:
    """Say how many examples the promise takes, and the way to them if there are fewer."""
    if margin <= 0:
        return "that nothing at all is lost cannot be proven by any number; give a --max-drop above 0"
    need = fewest_examples(margin, confidence)
    if there >= need:
        return f"{need} are the fewest for a loss above {points}"
    wider = f"a --max-drop of {_best(there, confidence)} or more" if settings.goal.promises else ""
    more = f"--verify-examples {need} or more" if there == settings.verified else ""
    way = " or ".join(filter(None, (more, wider))) or "a task with more examples"
    return f"a loss above {points} takes {need} or more, so this search cannot exclude it; give {way}"


def _best(n: int, confidence: float) -> str:
    """Return the least loss, in points, that n examples can exclude, rounded up."""
    exact = -100 * paired_interval(n, 0, 0, confidence)[0]
    return f"{-(-exact * 100 // 1) / 100:g}"
