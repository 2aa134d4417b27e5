"""Intervals: known cases, and how often they hold what they promise."""

import numpy as np
import pytest

from siglip2.evals.intervals import mean, means, resample, resampled, share, wilson


def test_wilson_of_a_known_case():
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    with pytest.raises(ValueError, match="0 cases"):
        wilson(0, 0)


def test_share_of_images_is_wilson_and_of_captions_is_not():
    cases = np.array([True] * 30 + [False] * 70)
    assert share(cases).method == "Wilson"
    assert share(cases, np.arange(100)).method == "Wilson"
    grouped = share(cases, np.arange(100) // 5)
    assert grouped.method == "bootstrap over images"
    # Captions of one image agree here, so that there are twenty cases and not a hundred.
    assert grouped.high - grouped.low > 1.7 * (share(cases).high - share(cases).low)


def test_bootstrap_against_resampling_by_hand():
    values = np.random.default_rng(0).exponential(size=120)
    ours = mean(values)
    rng = np.random.default_rng(5)
    drawn = [rng.choice(values, len(values)).mean() for _ in range(20_000)]
    assert (ours.low, ours.high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.02)
    assert ours.value == pytest.approx(values.mean())


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        measure = mean(rng.normal(3.0, 1.0, 60))
        held += measure.contains(3.0)
    assert 0.89 <= held / 200 <= 0.99


def test_statistics_that_are_no_means():
    values = np.array([1.0, 2.0, 10.0])
    measure = resampled(lambda weights: (weights @ values) / weights.sum(axis=1), 3)
    assert measure.value == pytest.approx(values.mean())
    drawn = resample(lambda weights: (weights @ values) / weights.sum(axis=1), 3)
    assert (measure.low, measure.high) == tuple(np.percentile(drawn, (2.5, 97.5)))


def test_several_means_at_once_are_each_alone():
    rng = np.random.default_rng(3)
    columns, groups = {"a": rng.random(50), "b": rng.random(50) < 0.3}, rng.integers(0, 9, 50)
    for name, measure in means(columns, groups).items():
        alone = mean(columns[name], groups)
        assert (measure.value, measure.low, measure.high) == pytest.approx(
            (alone.value, alone.low, alone.high)
        )


def test_a_mean_over_kinds_against_resampling_by_hand():
    """Kinds of unlike sizes, of images that share them: every resample is averaged by kind anew."""
    rng = np.random.default_rng(7)
    kinds, groups = np.repeat([0, 1, 2], [90, 25, 5]), rng.integers(0, 60, 120)
    values = rng.random(120) < np.array([0.9, 0.5, 0.2])[kinds]

    def by_hand(chosen: np.ndarray) -> float:
        return float(
            np.mean([values[chosen][kinds[chosen] == kind].mean() for kind in np.unique(kinds[chosen])])
        )

    images = [np.flatnonzero(groups == image) for image in np.unique(groups)]
    drawn = [
        by_hand(np.concatenate([images[index] for index in rng.integers(0, len(images), len(images))]))
        for _ in range(8_000)
    ]
    ours = mean(values, groups, kinds)
    assert ours.value == pytest.approx(by_hand(np.arange(120)))
    assert (ours.low, ours.high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.015)


def test_kinds_of_unlike_sizes_all_right_leave_no_doubt():
    kinds = np.repeat([0, 1, 2], [400, 40, 4])
    ours = mean(np.ones(444), kinds=kinds)
    assert (ours.value, ours.low, ours.high) == (1, 1, 1)
