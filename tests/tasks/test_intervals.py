"""Intervals, paired comparisons and accuracy under parallelism, against values worked out by hand or by simulation."""

import math

import numpy
import pytest
from scipy import stats

from dllm_decode.evaluate.statistics import (
    PointOutcomes,
    aup,
    aup_draws,
    compare_paired,
    fewest_examples,
    paired_interval,
    percentile_interval,
    wilson_interval,
)


def test_the_wilson_interval_is_the_textbook_formula():
    z, n, p = 1.959964, 50, 0.9
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson_interval(45, 50) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_all_correct_still_leaves_room_below():
    low, high = wilson_interval(20, 20)
    assert 0.8 < low < 0.9 and high == 1.0


def test_a_comparison_counts_what_was_gained_and_lost():
    baseline = [True, True, False, False, True]
    other = [True, False, True, False, False]
    result = compare_paired(baseline, other)
    assert (result.n, result.gained, result.lost) == (5, 1, 2)
    assert result.difference == pytest.approx(-0.2)
    assert result.p_value == pytest.approx(1.0)


def test_without_a_discordant_pair_the_interval_is_the_exact_bound():
    for n, one_sided in ((8, 0.312), (100, 0.0295), (200, 0.0149), (500, 0.00597)):
        low, high = paired_interval(n, 0, 0, confidence=0.90)
        assert (low, high) == pytest.approx((-one_sided, one_sided), rel=5e-3)


def test_where_many_pairs_differ_the_interval_agrees_with_resampling_the_examples():
    rng = numpy.random.default_rng(1)
    baseline, other = rng.random(300) < 0.8, rng.random(300) < 0.7
    differences = other.astype(int) - baseline.astype(int)
    means = [differences[rng.integers(0, 300, 300)].mean() for _ in range(4000)]
    result = compare_paired(list(baseline), list(other))
    assert result.interval == pytest.approx(tuple(numpy.percentile(means, [2.5, 97.5])), abs=0.015)


def coverage(n: int, gained: float, lost: float) -> float:
    """Return how often the interval holds the truth: the sum over all counts, the very unlikely ones left out."""
    counts = numpy.arange(n + 1)
    likely = [[k for k in counts if stats.binom.pmf(k, n, share) > 1e-7] for share in (gained, lost)]
    total = 0.0
    for up in likely[0]:
        for down in likely[1]:
            chance = stats.multinomial.pmf([up, down, n - up - down], n, [gained, lost, 1 - gained - lost])
            low, high = paired_interval(n, int(up), int(down))
            total += float(chance) * (low - 1e-12 <= gained - lost <= high + 1e-12)
    return total


@pytest.mark.parametrize("n", [8, 30, 100, 300])
@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0.01, 0.01), (0, 0.02), (0.05, 0.05), (0, 0.1), (0.03, 0.12)])
def test_the_paired_interval_holds_the_truth_at_least_94_times_in_100(n: int, gained: float, lost: float):
    assert coverage(n, gained, lost) >= 0.94


@pytest.mark.parametrize("n", [8, 100, 1000])
@pytest.mark.parametrize("discordant", [0.0, 0.005, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_by_simulation_the_paired_interval_holds_the_truth(n: int, discordant: float, share: float):
    gained, lost = discordant * share, discordant * (1 - share)
    rng = numpy.random.default_rng(7)
    drawn, times = numpy.unique(rng.multinomial(n, [gained, lost, 1 - discordant], 4000), axis=0, return_counts=True)
    held = 0
    for (up, down, _), count in zip(drawn.tolist(), times.tolist(), strict=True):
        low, high = paired_interval(n, up, down)
        held += count * (low - 1e-12 <= gained - lost <= high + 1e-12)
    assert held / 4000 >= 0.94


def test_a_promise_of_one_point_needs_hundreds_of_examples():
    assert fewest_examples(0.01) == 368
    low, _ = paired_interval(368, 0, 0)
    assert low >= -0.01 > paired_interval(367, 0, 0)[0]


def test_a_wider_confidence_is_a_wider_interval():
    result = compare_paired([True] * 50 + [False] * 50, [True] * 48 + [False] * 52)
    low, high = result.interval_at(0.99)
    assert low < result.interval[0] and high > result.interval[1]


def test_mcnemar_is_the_exact_binomial_test_of_the_pairs_that_differ():
    result = compare_paired([True] * 6 + [False], [False] * 6 + [True])
    assert result.p_value == pytest.approx(2 * (1 + 7) / 2**7)


def test_a_strategy_compared_with_itself_differs_by_nothing_and_proves_little():
    result = compare_paired([True, False, True], [True, False, True])
    assert (result.difference, result.p_value) == (0, 1)
    assert result.interval == pytest.approx((-0.708, 0.708), abs=1e-3)


def test_comparisons_are_the_same_every_time():
    baseline, other = [True, False] * 20, [True, True, False, False] * 10
    assert compare_paired(baseline, other) == compare_paired(baseline, other)


def test_outcomes_of_different_examples_cannot_be_compared():
    with pytest.raises(ValueError, match="got 2 and 3"):
        compare_paired([True, False], [True, False, True])


def plain_aup(points, best, discount_first=False):
    """The definition, step by step."""
    points = sorted(points)
    first_rho, first_y = points[0]
    kept = []
    for rho, y in points:
        if y >= first_y - 5:
            weight = min(math.exp(-3 * (1 - y / best)), 1) if best > 0 else 0
            kept.append((rho, y, y * weight))
    area = first_rho * (kept[0][2] if discount_first else first_y)
    for i in range(1, len(kept)):
        width = kept[i][0] - kept[i - 1][0]
        area += width * (kept[i][2] + kept[i - 1][2]) / 2
    return area


def random_curve(rng, n, points):
    """Outcomes of n examples at several speeds."""
    return [
        PointOutcomes(
            list(rng.random(n) < rng.uniform(0.5, 0.9)),
            [int(t) for t in rng.integers(1, 20, n)],
            [int(f) for f in rng.integers(1, 20, n)],
        )
        for _ in range(points)
    ]


def test_aup_of_one_point_is_its_rectangle():
    assert aup([(1.5, 80.0)], best=90.0) == pytest.approx(120.0)


def test_aup_adds_discounted_trapezoids_and_drops_what_is_5_points_below_the_slowest():
    def discounted(y):
        return y * math.exp(-3 * (1 - y / 80))

    points = [(4.0, 60.0), (1.0, 78.0), (2.0, 80.0)]
    assert aup(points, best=80.0) == pytest.approx(78 + 0.5 * (80 + discounted(78)))


def test_aup_is_the_definition_on_random_curves():
    rng = numpy.random.default_rng(3)
    for _ in range(200):
        points = [(float(rho), float(y)) for rho, y in zip(rng.random(5) * 8, rng.random(5) * 100, strict=True)]
        best = float(rng.uniform(50, 100))
        for first in (False, True):
            assert aup(points, best, discount_first=first) == pytest.approx(plain_aup(points, best, first))


def test_a_task_that_nobody_solves_scores_nothing():
    assert aup([(1.0, 0.0), (3.0, 0.0)], best=0.0) == 0


def test_discounting_the_first_rectangle_takes_the_reward_from_fast_and_wrong():
    assert aup([(8.0, 20.0)], best=95.0) > aup([(1.0, 95.0)], best=95.0)
    assert aup([(8.0, 20.0)], best=95.0, discount_first=True) < aup([(1.0, 95.0)], best=95.0, discount_first=True)


def test_one_token_a_forward_scores_its_accuracy():
    """So the published 72.5 of LLaDA on GSM8K is its accuracy, whatever the best method of the leaderboard reaches."""
    assert aup([(1.0, 72.5)], best=81.0) == 72.5


def test_bootstrap_draws_agree_with_resampling_the_examples():
    rng = numpy.random.default_rng(5)
    curve, n = random_curve(rng, 120, 3), 120
    truth = []
    for _ in range(1500):
        rows = rng.integers(0, n, n)
        points = []
        for one in curve:
            forwards = sum(one.forward_passes[row] for row in rows)
            tokens = sum(one.tokens[row] for row in rows)
            points.append((tokens / forwards, 100 * sum(one.correct[row] for row in rows) / n))
        truth.append(plain_aup(points, 90.0))
    draws = aup_draws(curve, 90.0, resamples=1500)
    assert numpy.median(draws) == pytest.approx(numpy.median(truth), rel=0.03)
    assert percentile_interval(draws) == pytest.approx(percentile_interval(numpy.array(truth)), rel=0.06)


@pytest.mark.parametrize("best", [95.0, 60.0, 0.0])
@pytest.mark.parametrize("discount_first", [False, True])
def test_every_draw_is_the_score_of_its_resample(best, discount_first):
    n, resamples = 40, 60
    curve = random_curve(numpy.random.default_rng(7), n, 4)
    counts = numpy.random.default_rng(0).multinomial(n, numpy.full(n, 1 / n), size=resamples)
    draws = aup_draws(curve, best, resamples=resamples, discount_first=discount_first)
    for draw, times in zip(draws, counts, strict=True):
        rows = [row for row, count in enumerate(times) for _ in range(count)]
        points = []
        for one in curve:
            rho = sum(one.tokens[row] for row in rows) / sum(one.forward_passes[row] for row in rows)
            points.append((rho, 100 * sum(one.correct[row] for row in rows) / n))
        assert draw == pytest.approx(plain_aup(points, best, discount_first))


def test_draws_of_a_curve_and_of_itself_differ_by_nothing():
    curve = random_curve(numpy.random.default_rng(6), 50, 2)
    assert (aup_draws(curve, 90.0, resamples=50) == aup_draws(list(curve), 90.0, resamples=50)).all()


def test_the_score_of_outcomes_is_the_score_of_their_points():
    one = PointOutcomes([True, False], [4, 8], [2, 2])
    assert one.point() == (3.0, 50.0)
    assert PointOutcomes([False], [0], [0]).point() == (0.0, 0.0)


def test_curves_of_different_examples_have_no_bootstrap():
    with pytest.raises(ValueError, match="same examples"):
        aup_draws([PointOutcomes([True], [1], [1]), PointOutcomes([True] * 2, [1] * 2, [1] * 2)], 90.0)
    with pytest.raises(ValueError, match="same examples"):
        aup_draws([], 90.0)
