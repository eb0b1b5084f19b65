"""The report of a search: the chosen strategy beside the baselines on the test split, in tables, JSON, YAML and words.

Knows scores and comparisons; leaves pictures, the page and files to `write`, and decoding to the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dllm_decode.evaluate.statistics import PairedComparison, aup, compare_paired, mean_interval
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import MARGIN
from dllm_search.judge.score import Score

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "strategy",
    "accuracy",
    "95 % interval",
    "forwards",
    "fewer",
    "tokens/forward",
    "difference",
    "McNemar p",
)
LEFT_OUT = ("95 % interval", "tokens/forward", "McNemar p")
THIN = 200
"""Examples below which accuracies are too rough to tell schedules apart."""


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy on the test split."""

    role: str
    """"baseline", "chosen" or "control"."""
    name: str
    strategy: Strategy
    score: Score
    against: PairedComparison
    """Compared with the baseline on the same examples."""
    fewer: float
    """The baseline's forward passes over its own."""

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell a column."""
        low, high = mean_interval(self.score.correct)
        change, compared = self.against, self.role != "baseline"
        bounds = f"{100 * change.interval[0]:+.1f} to {100 * change.interval[1]:+.1f}"
        return (
            f"{self.name} (chosen)" if self.role == "chosen" else self.name,
            f"{100 * self.score.accuracy:.1f} %",
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{self.score.forward_passes:.1f}"
            + ("" if self.score.work == 1 else f" (worth {self.score.plain_forwards:.1f})"),
            f"{self.fewer:.2f}×",
            f"{self.score.tokens_per_forward:.2f}",
            f"{100 * change.difference:+.1f} ({bounds})" if compared else "",
            f"{change.p_value:.2g}" if compared else "",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; accuracies and differences are fractions of 1."""
        low, high = mean_interval(self.score.correct)
        return {
            "role": self.role,
            "name": self.name,
            "strategy_digest": self.strategy.digest(),
            "n": self.score.n,
            "accuracy": self.score.accuracy,
            "accuracy_interval": [low, high],
            "forward_passes": self.score.forward_passes,
            "plain_forwards": self.score.plain_forwards,
            "times_fewer": self.fewer,
            "tokens_per_forward": self.score.tokens_per_forward,
            "difference": self.against.difference,
            "difference_interval": list(self.against.interval),
            "gained": self.against.gained,
            "lost": self.against.lost,
            "mcnemar_p": self.against.p_value,
            "strategy": self.strategy.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a search has to say."""

    task: str
    chosen: Row
    rows: tuple[Row, ...]
    front: tuple[Candidate, ...]
    """Not dominated on the tuning examples, cheapest first."""
    tried: tuple[Candidate, ...]
    """Everything scored on the tuning examples."""
    evidence: tuple[str, ...]
    """What may be concluded, in sentences."""
    record: dict[str, Any] = field(default_factory=dict)
    """Setup, seeds, versions, device, cost of the search."""
    ablation: tuple[tuple[str, Row | None, str], ...] = ()
    """What was set back to the baseline's, the row compared with the chosen one, or why there is none."""
    importances: dict[str, dict[str, float]] = field(default_factory=dict)
    """Value of a trial -> parameter -> share of 1; see `importance.importances`."""

    @property
    def areas(self) -> dict[str, float]:
        """AUP on the tuning examples of what was found and of every baseline measured at several speeds."""
        families: dict[str, list[tuple[float, float]]] = {}
        for candidate in self.tried:
            if candidate.label:
                families.setdefault(candidate.label.split()[0], []).append(_speed(candidate))
        curves = {name: points for name, points in families.items() if len(points) > 1}
        if self.front:
            curves["the search's front"] = [_speed(candidate) for candidate in self.front]
        best = max((accuracy for points in curves.values() for _, accuracy in points), default=0.0)
        return {name: round(aup(points, best), 2) for name, points in curves.items()}

    def markdown(self) -> str:
        """Return the table and the evidence as Markdown."""
        lines = [
            f"# Search on {self.task}",
            "",
            f"{self.rows[0].score.n} examples of the test split; differences in points against the first row, "
            "95 % intervals of paired differences. Names are recipe, answer length/steps, and what differs from the recipe.",
            "",
            "| " + " | ".join(COLUMNS) + " |",
            "|---|" + "---:|" * (len(COLUMNS) - 1),
        ]
        for row in self.rows:
            cells = [f"**{cell}**" if row.role == "chosen" and cell else cell for cell in row.cells()]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", *self.evidence, ""])

    def table(self) -> Table:
        """Return the table for a terminal."""
        from rich.table import Table

        title = f"{self.task}, {self.rows[0].score.n} examples of the test split"
        table = Table(
            title=title, caption="\n".join(self.evidence), title_justify="left", caption_justify="left"
        )
        # Eighty columns hold no more than this; the rest is in table.md.
        shown = [number for number, column in enumerate(COLUMNS) if column not in LEFT_OUT]
        for number in shown:
            table.add_column(COLUMNS[number], justify="left" if number == 0 else "right", no_wrap=number > 0)
        for row in self.rows:
            cells = row.cells()
            table.add_row(*(cells[n] for n in shown), style="bold" if row.role == "chosen" else None)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return the run record: setup, rows on the test split, the front on the tuning split."""
        return {
            "kind": "search",
            "task": self.task,
            **self.record,
            "chosen": self.chosen.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "front": [candidate.to_dict() for candidate in self.front],
            "areas": self.areas,
            "ablation": [
                {"set_back": what, **({"not_measured": reason} if row is None else row.to_dict())}
                for what, row, reason in self.ablation
            ],
            "importances": self.importances,
            "evidence": list(self.evidence),
        }

    def strategy_yaml(self) -> str:
        """Return the chosen strategy as YAML that `--strategy FILE` accepts, with where it came from in comments."""
        row, baseline = self.chosen, self.rows[0]
        strategy = row.strategy.model_copy(
            update={
                "name": f"tuned-{self.task}",
                "description": f"Chosen by search on {self.task}: {row.fewer:.2f} times fewer forward passes than "
                f"{baseline.name}, accuracy {100 * row.against.difference:+.1f} points.",
            }
        )
        lines = [f"# {key}: {value}" for key, value in self.record.get("provenance", {}).items()]
        lines += [f"# {sentence}" for sentence in self.evidence]
        return "\n".join([*lines, strategy.to_yaml()])


def compare(role: str, name: str, strategy: Strategy, score: Score, baseline: Score) -> Row:
    """Return a strategy's row beside the baseline's score on the same examples."""
    against = compare_paired(baseline.correct, score.correct)
    return Row(
        role, name, strategy, score, against, baseline.forward_passes / max(score.forward_passes, 1e-9)
    )


def evidence(rows: Sequence[Row], margin: float = MARGIN) -> tuple[str, ...]:
    """Say in sentences what the rows allow to conclude about the chosen strategy, and what they do not.

    Args:
        rows: The baseline's first.
        margin: The loss, as a fraction of 1, that was allowed.
    """
    baseline = rows[0]
    chosen = next((row for row in rows if row.role == "chosen"), baseline)
    n, sentences = baseline.score.n, []
    if chosen.role == "baseline":
        return ("Nothing cheaper kept the baseline's accuracy; the baseline itself is the choice.",)
    low, high = (100 * bound for bound in chosen.against.interval)
    sentences.append(
        f"The chosen strategy takes {chosen.fewer:.2f} times fewer forward passes "
        f"({chosen.score.forward_passes:.1f} against {baseline.score.forward_passes:.1f}); its accuracy differs by "
        f"{100 * chosen.against.difference:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}, n = {n})."
    )
    if chosen.score.work != baseline.score.work:
        sentences.append(
            f"Each of its forwards runs the model on {chosen.score.work / baseline.score.work:.2f} times the rows and "
            f"columns of the baseline's, so that together they are worth {chosen.score.plain_forwards:.1f} plain ones."
        )
    if low > -100 * margin:
        points = f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"
        sentences.append(f"A loss above {points} is excluded at that level.")
    elif high < 0:
        sentences.append("That is a real loss: what held on the tuning split did not hold here.")
    elif chosen.against.difference < -margin:
        sentences.append(
            f"The evidence is too thin to exclude a loss of {-low:.1f} points, and a loss is likelier."
        )
    else:
        sentences.append(f"The evidence is too thin to exclude a loss of up to {-low:.1f} points.")
    if n < THIN:
        sentences.append(f"{n} examples are few: give --test-examples {THIN} or more before relying on it.")
    controls = [row for row in rows if row.role == "control" and "equal forwards" in row.name]
    for row in controls:
        gap = compare_paired(row.score.correct, chosen.score.correct)
        if gap.difference <= 0:
            sentences.append(
                f"{row.name} is as accurate: the schedule earns nothing beyond taking fewer steps."
            )
    return tuple(sentences)


def _speed(candidate: Candidate) -> tuple[float, float]:
    """Return (tokens per plain forward, accuracy in percent)."""
    return candidate.score.tokens_per_forward / candidate.score.work, 100 * candidate.score.accuracy
