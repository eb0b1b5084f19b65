"""Compares our prompts, extraction and verdicts with recorded ones: `python tests/verdicts.py FOLDER [--quick]`.

FOLDER holds verdicts.jsonl, messages.jsonl and gold.json, and `FOLDER/../data` the data sets that they name. Ends with 0 only
if every case agrees. With --quick the data sets' own answers, some thousands of programs among them, are left out.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.gold import counts
from tests.support.recorded import cases, judged
from tests.support.recorded_prompts import prompts


def main(folder: Path, quick: bool = False) -> int:
    """Prints counts by shape and task and every case that disagrees; returns the exit status."""
    agree = [_verdicts(folder), _prompts(folder)]
    if not quick:
        agree.append(_gold(folder))
    return int(not all(agree))


def _verdicts(folder: Path) -> bool:
    agreed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for case, extracted, correct in judged(cases(folder)):
        agrees = extracted == case.extracted and correct == case.correct
        total[case.label] += 1
        agreed[case.label] += agrees
        if not agrees:
            print(f"DISAGREES {case.label}, line {case.line}: {case.text!r}")
            print(f"    recorded {case.extracted!r} {case.correct}; ours {extracted!r} {correct}  {case.note}")
    return _printed("verdicts", agreed, total)


def _prompts(folder: Path) -> bool:
    agreed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for label, recorded, ours in prompts(folder):
        total[label] += 1
        agreed[label] += recorded in ours
        if recorded not in ours:
            print(f"DISAGREES prompt {label}\n    recorded {recorded!r}\n    ours {ours[0]!r}")
    return _printed("prompts", agreed, total)


def _gold(folder: Path) -> bool:
    agreed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for count in counts(folder):
        refused = count.ours()
        agrees = count.agrees(refused)
        total["gold counts"] += 1
        agreed["gold counts"] += agrees
        said = "" if agrees else f"  DISAGREES: recorded {count.accepted}, refused {count.rejected}; ours {refused}"
        print(f"{len(count.rows) - len(refused):5} of {len(count.rows):5} accepted  {count.label}{said}")
    return _printed("gold answers", agreed, total)


def _printed(what: str, agreed: Counter[str], total: Counter[str]) -> bool:
    for label, count in total.items():
        print(f"{agreed[label]:5} of {count:5} agree  {label}")
    print(f"{agreed.total():5} of {total.total():5} {what} agree\n")
    # Nothing compared is nothing shown.
    return agreed == total and total.total() > 0


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--quick"]
    if len(given) != 1 or not (Path(given[0]) / "verdicts.jsonl").is_file():
        sys.exit("usage: python tests/verdicts.py FOLDER [--quick]; FOLDER holds verdicts.jsonl")
    sys.exit(main(Path(given[0]), quick="--quick" in sys.argv))
