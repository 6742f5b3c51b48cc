"""The criteria of pass and fail."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.criteria import rejects, rms


@pytest.mark.parametrize("trials", [60, 400])
def test_false_alarms_of_a_family_stay_below_its_level(trials: int) -> None:
    family = 27
    probability = stats.binom.pmf(np.arange(trials + 1), trials, 0.95)
    single = sum(p for hits, p in enumerate(probability) if rejects(hits, trials, family))
    assert 1 - (1 - single) ** family <= 0.01


def test_400_seeds_tell_90_from_95_per_cent() -> None:
    probability = stats.binom.pmf(np.arange(401), 400, 0.88)
    assert sum(p for hits, p in enumerate(probability) if rejects(hits, 400, 27)) > 0.9


def test_all_failed_is_rejected() -> None:
    assert rejects(0, 60, 27)


def test_rms_and_its_uncertainty() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    root, uncertainty = rms(list(values))
    assert root == pytest.approx(1, abs=5 * uncertainty)
    assert uncertainty == pytest.approx(1 / math.sqrt(2 * 4000), rel=0.1)


def test_rms_does_not_drop_a_failure() -> None:
    assert math.isnan(rms([1.0, float("nan")])[0])
