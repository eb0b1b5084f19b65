"""Intervals, paired comparisons and accuracy under parallelism, against values worked out by hand or by simulation."""

import math

import numpy
import pytest

from dllm_decode.statistics import accuracy_under_parallelism, compare_paired, wilson_interval


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


def test_the_bootstrap_interval_agrees_with_resampling_the_examples():
    rng = numpy.random.default_rng(1)
    baseline, other = rng.random(300) < 0.8, rng.random(300) < 0.7
    differences = other.astype(int) - baseline.astype(int)
    means = [differences[rng.integers(0, 300, 300)].mean() for _ in range(4000)]
    result = compare_paired(list(baseline), list(other))
    assert result.interval == pytest.approx(tuple(numpy.percentile(means, [2.5, 97.5])), abs=0.01)


def test_mcnemar_is_the_exact_binomial_test_of_the_pairs_that_differ():
    result = compare_paired([True] * 6 + [False], [False] * 6 + [True])
    assert result.p_value == pytest.approx(2 * (1 + 7) / 2**7)


def test_a_strategy_compared_with_itself_differs_by_nothing():
    result = compare_paired([True, False, True], [True, False, True])
    assert (result.difference, result.interval, result.p_value) == (0, (0, 0), 1)


def test_comparisons_are_the_same_every_time():
    baseline, other = [True, False] * 20, [True, True, False, False] * 10
    assert compare_paired(baseline, other) == compare_paired(baseline, other)


def test_outcomes_of_different_examples_cannot_be_compared():
    with pytest.raises(ValueError, match="got 2 and 3"):
        compare_paired([True, False], [True, False, True])


def test_aup_of_one_point_is_its_rectangle():
    assert accuracy_under_parallelism([(1.5, 80.0)], best=90.0) == pytest.approx(120.0)


def test_aup_adds_discounted_trapezoids_and_drops_what_is_5_points_below_the_slowest():
    def discounted(y):
        return y * math.exp(-3 * (1 - y / 80))

    points = [(4.0, 60.0), (1.0, 78.0), (2.0, 80.0)]
    assert accuracy_under_parallelism(points, best=80.0) == pytest.approx(78 + 0.5 * (80 + discounted(78)))
