"""The report of a search: ablation, importances, areas, and one page that needs nothing beside it."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, assume, given, settings

from dllm_decode.errors import DecodeError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import describe
from dllm_search.report.ablation import set_back
from dllm_search.report.importance import importances
from dllm_search.report.page import page as written_page
from dllm_search.report.report import Report
from dllm_search.report.write import write_report
from dllm_search.space.space import Space
from dllm_search.trials.study import open_study
from tests.search.test_search import LENGTH, MadeUp, search, study_of
from tests.support.compositions import compositions


@pytest.fixture(scope="module")
def made() -> tuple[Report, optuna.Study]:
    """A finished search on the made-up objective."""
    space, run = Space.everything(LENGTH), search(MadeUp(), trials=30)
    study = study_of(run, space)
    run.run(study, space)
    return run.conclude(study, {"trials": 30, "seed": 0}), study


@pytest.fixture(scope="module")
def page(made: tuple[Report, optuna.Study], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as it is written."""
    folder: Path = tmp_path_factory.mktemp("report")
    write_report(made[0], folder)
    assert {file.name for file in folder.iterdir()} == {
        "front-test.png",
        "front.png",
        "report.html",
        "report.json",
        "strategy.yaml",
        "table.md",
    }
    return (folder / "report.html").read_text(encoding="utf-8")


def test_an_ablation_sets_back_each_part_that_differs_and_only_that() -> None:
    baseline = Strategy.load("llada", gen_length=LENGTH)
    changes = {"gen_length": LENGTH, "steps": 8, "stop": "eos", "confidence": "margin"}
    chosen = Strategy.load("said-block").override(changes)
    found = set_back(chosen, baseline)
    assert [what.split(":")[0] for what, _, _ in found] == ["block", "layering", "confidence", "stop", "steps"]
    for what, strategy, reason in found:
        kind = what.split(":")[0]
        assert strategy is not None and not reason
        assert getattr(strategy, kind) == getattr(baseline, kind)
        for other in ("block", "layering", "scheduler", "confidence", "stop", "steps"):
            assert other == kind or getattr(strategy, other) == getattr(chosen, other)


def test_an_ablation_of_a_part_that_both_have_names_the_fields_that_differ() -> None:
    one = {"block": {"name": "fixed", "length": 8}, "layering.detail.threshold": 0.7, "layering.pattern": "halves"}
    chosen = Strategy.load("said").override({**one, "stop": ["eos", {"name": "early-commit", "threshold": 0.5}]})
    other = {"block": {"name": "fixed", "length": 16}, "stop": ["eos", {"name": "early-commit", "threshold": 0.9}]}
    baseline = Strategy.load("said").override({**other, "layering.detail.hard_steps": 9})
    assert [what for what, _, _ in set_back(chosen, baseline)] == [
        "block: fixed with length 16 instead of 8",
        "layering: scaffold with pattern parity instead of halves, detail.threshold 0.8 instead of 0.7, "
        "detail.hard_steps 9 instead of 3",
        "stop: eos+early-commit with early-commit.threshold 0.9 instead of 0.5",
    ]


def test_an_ablation_that_cannot_work_says_why_instead() -> None:
    wino = Strategy.load("wino", gen_length=LENGTH)
    parts = set_back(wino, Strategy.load("llada"))
    found = {what.split(":")[0]: (strategy, reason) for what, strategy, reason in parts}
    assert found["forward"][0] is None and "set forward to 'shadow'" in found["forward"][1]
    assert found["revise"][0] is not None


def test_an_ablation_is_measured_beside_the_chosen_strategy_on_the_test_split(
    made: tuple[Report, optuna.Study],
) -> None:
    report, _ = made
    assert report.chosen.role == "chosen"
    assert report.ablation
    for _, row, reason in report.ablation:
        assert (row is None) == bool(reason)
        if row is not None:
            assert row.score.n == report.chosen.score.n
            assert row.against.difference == pytest.approx(row.score.accuracy - report.chosen.score.accuracy)


def drawn_at_random(seed: int, count: int = 60) -> optuna.Study:
    """A study whose cost follows from `steps` alone; an eighth of the trials has guidance, which changes nothing."""
    rng = random.Random(seed)
    study = open_study(None, "s", {})
    for _ in range(count):
        drawn: dict[str, Any] = {
            "steps": rng.randint(2, 32),
            "block.length": rng.choice([4, 8, 16]),
            "logits": rng.choice(["none"] * 7 + ["guidance"]),
        }
        ranges: dict[str, optuna.distributions.BaseDistribution] = {
            "steps": optuna.distributions.IntDistribution(2, 32),
            "block.length": optuna.distributions.CategoricalDistribution([4, 8, 16]),
            "logits": optuna.distributions.CategoricalDistribution(["none", "guidance"]),
        }
        if drawn["logits"] == "guidance":
            drawn["logits.guidance.weight"] = rng.random()
            ranges["logits.guidance.weight"] = optuna.distributions.FloatDistribution(0, 1)
        values = [rng.random(), drawn["steps"] + rng.random()]
        study.add_trial(optuna.trial.create_trial(params=drawn, distributions=ranges, values=values))
    return study


def test_what_changes_nothing_is_not_called_important() -> None:
    found = [importances(drawn_at_random(seed)) for seed in range(12)]
    assert all("steps" in one["cost"] and next(iter(one["cost"])) == "steps" for one in found)
    assert all(0 < sum(shares.values()) < 1.02 for one in found for shares in one.values())
    told = [name for one in found for shares in one.values() for name in shares]
    assert "logits.guidance.weight" not in told
    # By chance one of 50; three parameters that mean nothing for cost's two and accuracy's three, in twelve studies.
    assert len(told) - len(found) <= 4


def test_importances_need_enough_trials() -> None:
    assert importances(drawn_at_random(0, count=12)) == {}
    assert importances(open_study(None, "s", {})) == {}


def test_areas_compare_the_front_with_every_baseline_measured_at_several_speeds(
    made: tuple[Report, optuna.Study],
) -> None:
    report, _ = made
    assert report.areas["the search's front"] > 0
    assert "llada" in report.areas


def test_the_page_needs_nothing_beside_it_and_holds_every_section(page: str) -> None:
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses and all(address.startswith("data:image/png;base64,") for address in addresses)
    for heading in ("On the test split", "Accuracy under parallelism", "What each part contributes",
                    "Which choices decide", "What the search cost", "The chosen strategy", "Run record"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    assert "McNemar" in page


def test_the_page_says_how_many_forwards_the_search_took_and_with_which_seed(
    made: tuple[Report, optuna.Study],
) -> None:
    record = {"forward_passes_spent": 1234, "settings": {"seed": 7}}
    html = written_page(replace(made[0], record=record), {})
    for name, value in (("forward passes spent", 1234), ("seed", 7)):
        assert f"<td>{name}</td><td>{value}</td>" in html


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_pages_tags_are_closed_and_names_are_escaped(page: str) -> None:
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []


def test_thin_evidence_is_said_in_words_at_the_top(page: str, made: tuple[Report, optuna.Study]) -> None:
    report, _ = made
    assert any("examples are few" in sentence for sentence in report.evidence)
    assert page.index('class="verdict thin"') < page.index("<table>")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(compositions(), compositions())
def test_strategies_that_differ_never_have_one_name(one: dict[str, Any], other: dict[str, Any]) -> None:
    try:
        strategies = [Strategy.parse(one), Strategy.parse(other)]
    except DecodeError:
        assume(False)
    names = {describe(strategy) for strategy in strategies}
    assert len(names) == len({strategy.digest() for strategy in strategies})


def test_a_name_tells_thresholds_of_revisers_and_caches_apart() -> None:
    wino, plain = Strategy.load("wino"), Strategy.load("fast-dllm")
    names = {
        describe(wino),
        describe(wino.override({"revise.0.threshold": 0.8})),
        describe(wino.override({"scheduler.threshold": 0.7})),
        describe(plain.override({"cache": None})),
        describe(plain.override({"cache": "dual"})),
        describe(plain.override({"cache": "prefix"})),
    }
    assert len(names) == 6
    assert all(len(name) < 120 for name in names), names


def test_a_name_tells_patterns_apart() -> None:
    said = Strategy.load("said")
    names = {describe(said.override({"layering.pattern": pattern})) for pattern in ("halves", "checkerboard", "random")}
    assert len(names) == 3 and any("scaffold pattern halves" in name for name in names)


def test_a_rounded_number_is_followed_by_the_digest() -> None:
    strategy = Strategy.load("fast-dllm", **{"scheduler.threshold": 0.87654321})
    assert describe(strategy).endswith(f"~{strategy.digest()}") and "threshold 0.877" in describe(strategy)
    assert "~" not in describe(Strategy.load("fast-dllm", **{"scheduler.threshold": 0.85}))
