"""Compares our extraction and verdicts with recorded ones: `python tests/verdicts.py FOLDER`.

FOLDER holds verdicts.jsonl, and `FOLDER/../data` the data sets that its rows name. Ends with 0 only if every case agrees.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.recorded import Case, cases, judged


def main(folder: Path) -> int:
    """Prints counts by shape and task and every case that disagrees; returns the exit status."""
    recorded: list[Case] = cases(folder)
    agreed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for case, extracted, correct in judged(recorded):
        total[case.label] += 1
        agrees = extracted == case.extracted and correct == case.correct
        agreed[case.label] += agrees
        if not agrees:
            print(f"DISAGREES {case.label} line {case.line}: {case.text!r}")
            print(f"    recorded {case.extracted!r} {case.correct}; ours {extracted!r} {correct}  {case.note}")
    for label, count in total.items():
        print(f"{agreed[label]:5} of {count:5} agree  {label}")
    print(f"{agreed.total():5} of {total.total():5} agree")
    return int(agreed != total)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/verdicts.py FOLDER (the one that holds verdicts.jsonl)")
    sys.exit(main(Path(sys.argv[1])))
