"""The table of recipes: curves as declared, measuring that resumes, scores, and sentences that follow the numbers."""

import json

import numpy
import pytest
import yaml

from benchmarks.lib import recipe_page
from benchmarks.lib.composition_space import Space, is_new, part_names
from benchmarks.lib.curves import Curve, Point, block_choices, load_curves
from benchmarks.lib.pieces import Measured, Piece, Workers
from benchmarks.lib.recipe_results import Cell, Control, Results
from benchmarks.quality import composition, recipes
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.statistics import PointOutcomes, aup
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks import TASKS

LENGTHS = {task.name: task.gen_length for task in TASKS}


def outcomes(accuracy, forwards, n=200, tokens=8):
    """So many right answers, the first ones, each at so many forwards."""
    right = round(accuracy * n)
    return Measured(PointOutcomes([i < right for i in range(n)], [tokens] * n, [forwards] * n), seconds=1.0)


def cell(name, points, group="published", control=False):
    """A curve with made-up measurements."""
    curve = Curve(name, "llada", {}, {}, group=group, control=control)
    strategy = Strategy.load("llada")
    return Cell(curve, "line", None, tuple((Point(f"point {i}", strategy), one) for i, one in enumerate(points)))


def test_every_installed_recipe_is_measured():
    curves = {curve.name: curve for curve in load_curves()}
    assert set(load_registry().names("recipe")) <= set(curves)


def test_the_declared_recipes_are_installed():
    declared = yaml.safe_load((recipes.FILE).read_text(encoding="utf-8"))["recipes"]
    assert set(declared) <= set(load_registry().names("recipe"))


@pytest.mark.parametrize("curve", load_curves(), ids=lambda curve: curve.name)
def test_every_curve_can_serve_every_task_at_some_speed(curve):
    for length in LENGTHS.values():
        for block in block_choices(curve, length):
            assert any(point.strategy for point in curve.points(length, block)), curve.points(length, block)


def test_steps_are_shares_of_the_answer():
    curve = Curve("said", "said", {"steps": ("1/2", "1/8")}, {})
    assert [point.label for point in curve.points(32)] == ["T/2 steps", "T/8 steps"]
    assert [point.strategy.steps for point in curve.points(32) if point.strategy] == [16, 4]


def test_a_setting_that_the_parts_cannot_serve_is_a_point_with_a_reason():
    curve = Curve("said-block", "said-block", {"steps": ("1/8",)}, {})
    (point,) = curve.points(16)
    assert point.strategy is None and "stages" in point.problem


def test_block_lengths_that_decode_alike_are_one_choice():
    curve = Curve("llada", "llada", {"steps": ("1", "1/2")}, {}, blocks=(8, 16, 64))
    assert block_choices(curve, 16) == [None, 8]


def test_an_adaptive_recipe_that_is_not_declared_is_measured_as_published(tmp_path):
    path = tmp_path / "curves.yaml"
    path.write_text("recipes: {}\ncontrols: {}\n", encoding="utf-8")
    curves = {curve.name: curve for curve in load_curves(path)}
    assert [point.label for point in curves["fast-dllm"].points(16)] == ["as published"]
    assert len(curves["llada"].points(16)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipes: {llada: {varies: {}}}\ncontrols: {}", "'varies' is unknown"),
        ("recipes: {llada: {vary: {steps: [1], temperature: [0, 1]}}}\ncontrols: {}", "equally many"),
        ("recipes: {llada: {group: mine}}\ncontrols: {}", "'mine' is unknown"),
        ("- no mapping", "mappings `recipes` and `controls`"),
    ],
)
def test_a_mistake_in_the_declaration_is_said(tmp_path, text, message):
    path = tmp_path / "curves.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_curves(path)


def test_the_score_of_a_curve_is_aup_against_the_best_accuracy_of_all():
    slow, fast = outcomes(0.9, 8), outcomes(0.88, 2)
    results = Results(["line"], [cell("mine", [slow, fast]), cell("best", [outcomes(1.0, 8)])], [], 200)
    assert results.best == {"line": 100.0}
    assert results.scores["mine"]["line"].value == pytest.approx(aup([(1.0, 90.0), (4.0, 88.0)], 100.0))
    assert results.ranking == ["mine", "best"]


def test_intervals_of_differences_are_paired():
    points = [outcomes(0.9, 8), outcomes(0.88, 2)]
    results = Results(["line"], [cell("one", points), cell("two", points)], [], 200)
    assert results.gap("one", "two") == (0, (0, 0))
    low, high = results.means["one"].interval
    assert low < results.means["one"].value < high


def test_a_curve_that_could_not_run_is_in_the_table_with_its_reason():
    broken = cell("broken", [Measured(problem="needs a file of frequencies")])
    results = Results(["line"], [cell("mine", [outcomes(0.9, 8)]), broken], [], 200)
    page = recipe_page.pages(results, {}, {})["results.md"]
    assert results.ranking == ["mine", "broken"]
    assert "`broken` on line: point 0: needs a file of frequencies" in page and "not run" in page


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (1.0, "more accurate in 1 of 1 settings (line 1), less accurate in 0, not told apart in 0; +20.0 points"),
        (0.8, "more accurate in 0 of 1 settings, less accurate in 0, not told apart in 1; +0.0 points"),
        (0.5, "more accurate in 0 of 1 settings, less accurate in 1 (line 1), not told apart in 0; -30.0 points"),
    ],
)
def test_the_verdict_on_a_layered_schedule_follows_from_the_paired_intervals(own, said):
    against = {recipe_page.EQUAL: ("llada 16/8", outcomes(0.8, 8))}
    control = Control("said", "line", "T/2 steps", outcomes(own, 8), against)
    layered = cell("said", [outcomes(own, 8)], control=True)
    page = recipe_page.pages(Results(["line"], [layered], [control], 200), {}, {})["results.md"]
    assert f"Against {recipe_page.EQUAL}: {said}" in page
    assert f"There is no {recipe_page.RANDOM} to compare with." in page


@pytest.mark.parametrize(("fast", "verdict"), [(1, "beats"), (8, "cannot be told from"), (16, "does not reach")])
def test_the_page_says_whether_the_composition_wins(fast, verdict):
    cells = [cell("fast-dllm", [outcomes(0.9, 8)]), cell("mine", [outcomes(0.9, fast)], group="found")]
    search = {"method": "Searched.", "attempts": [], "finalists": {}}
    page = recipe_page.pages(Results(["line"], cells, [], 200), {}, search)["results.md"]
    assert f"**mine** {verdict} the best published recipe, `fast-dllm`, in mean AUP" in page


def test_a_run_writes_pages_and_a_second_run_decodes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    command = ["--limit", "2", "--tune-examples", "1", "--tasks", "facts", "--curves", "said,fast-dllm"]
    command += ["--processes", "1", "--out", str(tmp_path / "recipes.json"), "--docs", str(tmp_path)]
    command += ["--found", str(tmp_path / "none.json")]
    assert recipes.main(command) == 0
    first = json.loads((tmp_path / "recipes.json").read_text(encoding="utf-8"))
    assert {one["curve"] for one in first["cells"]} == {"said", "fast-dllm"}
    assert first["controls"] and first["setup"]["model_fingerprint"] and first["setup"]["versions"]
    assert "### `said`" in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "fast-dllm" in (tmp_path / "results-facts.md").read_text(encoding="utf-8")
    kept = {path: path.read_bytes() for path in (tmp_path / "cache" / "outcomes").iterdir()}
    assert recipes.main(command) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "cache" / "outcomes").iterdir()} == kept


def test_a_piece_that_cannot_run_is_a_result_and_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path))
    strategy = Strategy.load("fast-dllm", gen_length=16)
    with Workers("tiny", processes=1) as workers:
        pieces = [Piece.of(task, "test", 1, strategy) for task in ("fact", "facts")]
        bad, good = workers.measure(pieces, "test").values()
    assert "facts" in bad.problem and bad.outcomes is None
    assert not good.problem and good.accuracy in (0, 1)


def test_every_rule_in_every_block_goes_together():
    space = Space.read()
    for one in space.start():
        for length in LENGTHS.values():
            assert all(point.strategy for point in space.curve(one).points(length)), one.name


def test_neighbours_differ_in_one_axis():
    space = Space.read()
    start = space.start()[0]
    same, *others = space.neighbours(start)
    assert same == start and len(set(others)) == len(others)
    for other in others:
        assert sum(a != b for a, b in zip(start.options, other.options, strict=True)) == 1


def test_a_published_recipe_in_other_blocks_is_not_new():
    space = Space.read()
    options = {"rule": "threshold", "block": "blocks of 8", "stop": "no stop"}
    assert not is_new(space, space.first(**options))
    assert not is_new(space, space.first(**options | {"stop": "EOS stop"}))
    assert part_names(Strategy.load("llada"))["block"] == part_names(Strategy.load("fast-dllm"))["block"]


def test_the_search_keeps_the_better_composition():
    """With a measure that rewards the margin threshold, the search must end at it."""
    space = Space.read()
    rng = numpy.random.default_rng(0)

    class Fake(Workers):
        def measure(self, pieces, title, after=None):
            wanted = list(pieces)
            for piece in wanted:
                liked = piece.strategy.confidence.name == "margin" and piece.strategy.scheduler.name == "threshold"
                right = 0.9 if liked else 0.6
                self.known[piece] = outcomes(right, int(rng.integers(3, 6)), piece.limit)
            return {piece: self.known[piece] for piece in wanted}

    search = composition.Search(space, Fake("tiny"), {"line": 16})
    (found,) = search.run([10, 20, 40], [3, 2, 1])
    assert dict(found.composition.options)["rule"] == "margin threshold"
    assert is_new(space, found.composition)
    record = composition.report(search, [found], [10, 20, 40], [3, 2, 1])
    (entry,) = load_curves(found=record["finalists"])[-1:]
    assert entry.group == "found" and entry.points(16)[0].strategy is not None
