"""The first order of a cut: shrunk where few tokens speak, window by window where these were kept."""

import numpy as np
import pytest

from lowrank_core.drift import Drift
from lowrank_core.settings import DRIFT_TRUST
from lowrank_core.types import Spectrum

RANKS = np.array([0, 4, 8])
DRIFT = Drift(RANKS, np.array([-0.2, 0.1, 0.0]), np.array([[-0.4, 0.2, 0.0], [0.0, 0.1, 0.0]]), DRIFT_TRUST)


def test_half_of_it_is_expected_after_so_many_tokens() -> None:
    np.testing.assert_allclose(DRIFT.expected(np.array([0, 2, 4, 8])), [-0.1, -0.025, 0.05, 0.0])
    assert Drift(RANKS, DRIFT.mean, DRIFT.by_window, 0).expected(4) == 0


def test_windows_that_were_not_kept_apart_count_as_the_mean() -> None:
    np.testing.assert_allclose(DRIFT.windows(4, 3), [0.2, 0.1, 0.1])
    np.testing.assert_allclose(DRIFT.windows(6, 1), [0.1])


def test_a_cut_is_never_predicted_to_cost_less_than_a_smaller_one() -> None:
    spectrum = Spectrum("a", "svd", np.ones(8), RANKS, np.ones(3), 1.0, np.array([0.08, 0.02, 0.0]), drift=DRIFT)
    assert spectrum.second(0) == pytest.approx(0.08) and spectrum.first(0) == pytest.approx(-0.1)
    np.testing.assert_allclose(spectrum.predicted(RANKS), [0.07, 0.07, 0.0])
