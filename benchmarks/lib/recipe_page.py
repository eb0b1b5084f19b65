"""The pages of results as Markdown: scores, every point of every task, layered schedules beside their controls.

Knows results and words; every sentence about who is better is computed from the intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.lib.pieces import Measured
from benchmarks.lib.recipe_results import RESAMPLES, Cell, Control, Results

EQUAL = "LLaDA's rule, best block"
RANDOM = "random order"
SWEEP_CONTROL = "threshold sweep"
KINDS = (EQUAL, RANDOM, SWEEP_CONTROL)
COMMAND = "python -m benchmarks.quality.recipes"

READING = """\
A recipe is measured at several speeds, its *points*. **Forwards** are forward passes an answer, counted as each
example costs alone. **Tokens/forward** is the sum of tokens up to EOS over the sum of forwards: the EOS that fills an
answer's length earns nothing. **AUP**, accuracy under parallelism, is the area under accuracy over tokens per forward,
low accuracies discounted (d3LLM's definition; `dllm_decode.evaluate.statistics.aup`): points more than 5 accuracy points below
the recipe's slowest one do not count, and an accuracy y weighs exp(-3(1 - y / best)), best being the best accuracy of
any point on the task.

AUP as defined counts its first rectangle in full, so that a recipe whose slowest point is already fast and wrong scores
well. **AUP, first discounted** weights that rectangle like the rest; trust it where the two disagree. For the same
reason compare curves that begin at the same speed: `llada` begins at one step a token, the other orders and budgets at
half of that, and *llada from T/2 steps* stands beside those.

Kinds: *published* are the recipes of this package, nearly all of them a paper's method at several settings of its knob;
*control* curves are there to be compared with; *found* ones come from the search below."""


def pages(results: Results, record: Mapping[str, Any], search: Mapping[str, Any]) -> dict[str, str]:
    """Return file names and their text: results.md, and results-TASK.md for every task."""
    found = {f"results-{task}.md": _task_page(results, task) for task in results.tasks}
    return {"results.md": _overview(results, record, search), **found}


def _overview(results: Results, record: Mapping[str, Any], search: Mapping[str, Any]) -> str:
    parts = [
        "# Every recipe on every task with the embedded model",
        f"Made by `{COMMAND}`; numbers in `benchmarks/results/recipes.json`. {_setup(results, record)}",
        READING,
        "## AUP",
        _ranking(results),
        "## Controls: is it the layers?",
        *_control_sections(results),
        "## A composition that no paper has",
        _composition(results, search),
        "## How it was measured",
        _method(record),
        *_not_run(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setup(results: Results, record: Mapping[str, Any]) -> str:
    setup = record.get("setup", {})
    versions = ", ".join(f"{name} {version}" for name, version in setup.get("versions", {}).items())
    links = ", ".join(f"[{task}](results-{task}.md)" for task in results.tasks)
    return (
        f"The first {results.n} examples of each task's test split, model `{setup.get('model')}` "
        f"({setup.get('model_fingerprint')}), {setup.get('dtype')}, {setup.get('device')}; {versions}; "
        f"{str(setup.get('date'))[:10]}. Every point, task by task: {links}."
    )


def _ranking(results: Results) -> str:
    """Return the table of AUP: a row a curve, best mean first."""
    columns = ["recipe", "kind", "**mean AUP**", "first discounted", *results.tasks]
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for name in results.ranking:
        mean = results.means.get(name)
        few = results.examples(name) not in (0, results.n)
        label = f"`{name}`" if results.group(name) == "published" else name
        cells = [f"{label} ({results.examples(name)} examples)" if few else label, results.group(name)]
        if mean is None:
            cells += ["", ""]
        else:
            low, high = mean.interval
            cells += [f"**{mean.value:.1f}** ({low:.1f} to {high:.1f})", f"{mean.discounted:.1f}"]
        for task in results.tasks:
            score = results.scores[name].get(task)
            cells.append(f"{score.value:.1f}" if score else "not run")
        lines.append("| " + " | ".join(cells) + " |")
    best = ", ".join(f"{task} {accuracy:.1f} %" for task, accuracy in results.best.items())
    lines += ["", f"95 % bootstrap intervals over examples, {RESAMPLES} resamples. Best accuracy of any point: {best}."]
    leader = results.leader("published")
    if leader is not None:
        lines += ["", f"The published recipe with the best mean AUP is `{leader}` ({results.means[leader].value:.1f})."]
        careful = results.leader("published", discounted=True)
        if careful is not None and careful != leader:
            value = results.means[careful].discounted
            lines[-1] += f" With the first rectangle discounted it is `{careful}` ({value:.1f})."
        bests = [(task, _best_of_task(results, task)) for task in results.tasks]
        told = [f"{task} `{best}` ({results.scores[best][task].value:.1f})" for task, best in bests if best]
        lines += ["", f"By task, the published recipe with the best AUP: {', '.join(told)}."]
    return "\n".join(lines)


def _task_page(results: Results, task: str) -> str:
    cells = [by_task[task] for by_task in results.by_name.values() if task in by_task]
    score = results.scores
    cells.sort(key=lambda cell: -score[cell.curve.name][task].value if task in score[cell.curve.name] else 1.0)
    columns = ("recipe", "point", "accuracy", "95 % interval", "forwards", "tokens/forward", "AUP", "first discounted")
    lines = [
        f"# {task}: every recipe at every speed",
        "",
        f"{results.n} examples of the test split unless a row says otherwise; best AUP first. "
        f"[What the columns mean](results.md). Made by `{COMMAND}`.",
        "",
        "| " + " | ".join(columns) + " |",
        "|---|---|" + "---:|" * (len(columns) - 2),
    ]
    for cell in cells:
        lines += [f"| {' | '.join(row)} |" for row in _point_rows(results, cell)]
    return "\n".join(lines) + "\n"


def _point_rows(results: Results, cell: Cell) -> list[list[str]]:
    rows = []
    block = f", block {cell.block}" if cell.block else ""
    score = results.scores[cell.curve.name].get(cell.task)
    for point, measured in cell.points:
        numbers = _numbers(measured) if measured.outcomes else ["not run", "", "", ""]
        rows.append(["", point.label, *numbers, "", ""])
    if rows:
        found = {len(one.correct) for one in cell.outcomes} - {results.n}
        few = f" ({max(found)} examples)" if found else ""
        rows[0][0] = f"`{cell.curve.name}`{block}{few}"
    if rows and score is not None:
        low, high = score.interval
        rows[0][6:] = [f"{score.value:.1f} ({low:.1f} to {high:.1f})", f"{score.discounted:.1f}"]
    return rows


def _numbers(measured: Measured) -> list[str]:
    data = measured.to_dict()
    low, high = (100 * bound for bound in data["accuracy_interval"])
    return [
        f"{100 * data['accuracy']:.1f} %",
        f"{low:.1f} to {high:.1f}",
        f"{data['forward_passes']:.1f}",
        f"{data['tokens_per_forward']:.2f}",
    ]


def _control_sections(results: Results) -> list[str]:
    """Return the section of each layered curve: what it wins and loses in words, then the table."""
    names = list(dict.fromkeys(control.curve for control in results.controls))
    intro = (
        "A layered schedule takes fewer forwards than one step a token; so does LLaDA's rule when it is given fewer "
        f"steps. Each point therefore stands beside *{EQUAL}* (as many steps as the point takes forwards, rounded up; "
        f"the block length of whole, 4, 8, ... that did best on the tuning split), beside *{RANDOM}* with as many "
        f"steps, and beside a *{SWEEP_CONTROL}* (the most careful threshold of `fast-dllm` that takes no more "
        "forwards). Differences are the schedule minus the control on the same examples, in points; bold where the "
        "95 % paired interval excludes 0."
    )
    sections = [intro]
    for name in names:
        controls = [control for control in results.controls if control.curve == name]
        sections += [f"### `{name}`", " ".join(_verdict(kind, controls) for kind in KINDS), _control_table(controls)]
    return sections


def _verdict(kind: str, controls: Sequence[Control]) -> str:
    """Say in how many of the settings a schedule beats a control, loses to it, or cannot be told from it."""
    changes = [(control, control.comparison(kind)) for control in controls]
    known = [(control, change) for control, change in changes if change is not None]
    if not known:
        return f"There is no {kind} to compare with."
    better = [control for control, change in known if change.interval[0] > 0]
    worse = [control for control, change in known if change.interval[1] < 0]
    mean = 100 * sum(change.difference for _, change in known) / len(known)
    equal = len(known) - len(better) - len(worse)
    return (
        f"Against {kind}: more accurate in {len(better)} of {len(known)} settings{_places(better)}, less accurate in "
        f"{len(worse)}{_places(worse)}, not told apart in {equal}; {mean:+.1f} points on average."
    )


def _places(controls: Sequence[Control]) -> str:
    by_task: dict[str, int] = {}
    for control in controls:
        by_task[control.task] = by_task.get(control.task, 0) + 1
    return f" ({', '.join(f'{task} {count}' for task, count in by_task.items())})" if by_task else ""


def _control_table(controls: Sequence[Control]) -> str:
    lines = [
        "| task | point | forwards | accuracy | " + " | ".join(KINDS) + " |",
        "|---|---|---:|---:|" + "---:|" * len(KINDS),
    ]
    for control in controls:
        numbers = _numbers(control.measured)
        cells = [control.task, control.label, numbers[2], numbers[0]]
        for kind in KINDS:
            change = control.comparison(kind)
            if change is None:
                cells.append("none as cheap" if kind == SWEEP_CONTROL else "")
                continue
            low, high = (100 * bound for bound in change.interval)
            other = control.against[kind][1]
            text = f"{100 * change.difference:+.1f} ({low:+.1f} to {high:+.1f})"
            text = f"**{text}**" if low > 0 or high < 0 else text
            cells.append(f"{100 * other.accuracy:.1f} %, {other.forwards:.1f} forwards: {text}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _composition(results: Results, search: Mapping[str, Any]) -> str:
    """Say whether a composition found on the tuning split beats every published recipe, and by how much."""
    if not search:
        return "No search for one has been run (`python -m benchmarks.quality.composition`)."
    lines = [str(search["method"])]
    leaders = [results.leader("published"), results.leader("published", discounted=True)]
    found = [name for name in results.ranking if results.group(name) == "found" and name in results.means]
    for name in found:
        lines.append(_duel(results, name, leaders[0], discounted=False))
        lines.append(_duel(results, name, leaders[1], discounted=True))
        lines.append(_duel(results, name, results.leader("control"), discounted=False))
        lines.append(_per_task(results, name, leaders[0]))
    if not found:
        lines.append("What the search found has not been measured on the test split.")
    lines.append(_attempts(search))
    return "\n\n".join(line for line in lines if line)


def _duel(results: Results, name: str, leader: str | None, *, discounted: bool) -> str:
    if leader is None:
        return ""
    value, (low, high) = results.gap(name, leader, discounted=discounted)
    form = "mean AUP with the first rectangle discounted" if discounted else "mean AUP"
    one, two = results.means[name], results.means[leader]
    values = (one.discounted, two.discounted) if discounted else (one.value, two.value)
    verdict = "beats" if low > 0 else "does not reach" if high < 0 else "cannot be told from"
    kind = {"published": "published recipe", "control": "control"}[results.group(leader)]
    return (
        f"On the test split **{name}** {verdict} the best {kind}, `{leader}`, in {form}: {values[0]:.1f} "
        f"against {values[1]:.1f}, a difference of {value:+.1f} (95 % paired interval {low:+.1f} to {high:+.1f})."
    )


def _per_task(results: Results, name: str, leader: str | None) -> str:
    """Return a table of a composition beside the best published recipe and the best published one of each task."""
    if leader is None:
        return ""
    lines = [
        f"| task | {name} | `{leader}` | best published recipe of the task |",
        "|---|---:|---:|---:|",
    ]
    for task in results.tasks:
        best = _best_of_task(results, task) or leader
        own, rival, best_value = (results.scores[one][task].value for one in (name, leader, best))
        lines.append(f"| {task} | {own:.1f} | {rival:.1f} | `{best}` {best_value:.1f} |")
    return "\n".join(lines)


def _best_of_task(results: Results, task: str) -> str | None:
    """Return the published recipe with the best AUP on a task."""
    rivals = [
        name
        for name in results.scores
        if results.group(name) == "published" and task in results.scores[name] and results.examples(name) == results.n
    ]
    return max(rivals, key=lambda name: results.scores[name][task].value, default=None)


def _attempts(search: Mapping[str, Any]) -> str:
    """Return the table of the search's last round, and how many attempts there were."""
    attempts = search["attempts"]
    lines = [
        f"The search tried {len(attempts)} curves; all their numbers are in `benchmarks/results/composition.json`. "
        "Those that came furthest, scored on the tuning split:",
        "",
        "| composition | examples a task | mean AUP | first discounted |",
        "|---|---:|---:|---:|",
    ]
    for one in attempts[:10]:
        lines.append(f"| {one['name']} | {one['examples']} | {one['aup']:.1f} | {one['aup_first_discounted']:.1f} |")
    return "\n".join(lines)


def _method(record: Mapping[str, Any]) -> str:
    setup = record.get("setup", {})
    return (
        "What is measured is declared in `benchmarks/curves.yaml`. Where it gives a recipe other block lengths to "
        "choose from, one is chosen for each task: at the recipe's second slowest point, the most right answers on "
        f"the first {record.get('tune_examples')} examples of the `tune` split, then the fewest forwards, then the "
        "recipe's own. Nothing else is chosen, and nothing on the test split. `T` is the answer's length in tokens. "
        f"Decoding is greedy, in batches of {setup.get('batch_size')} rows, {setup.get('processes')} processes of one "
        "thread. One cell by hand: `dllm-decode eval --task line --strategy said --limit 500 --set steps=8`."
    )


def _not_run(results: Results) -> list[str]:
    """Return the section of what could not run, with the reasons."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell in results.cells:
        for problem in cell.problems:
            reasons.setdefault((cell.curve.name, problem), []).append(cell.task)
    if not reasons:
        return []
    lines = [f"- `{name}` on {', '.join(tasks)}: {problem}" for (name, problem), tasks in reasons.items()]
    return ["## What could not run", "\n".join(lines)]
