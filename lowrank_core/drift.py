"""The first order of what a cut costs (numpy only)."""

from dataclasses import dataclass

import numpy as np

from .settings import DRIFT_TRUST


@dataclass(frozen=True)
class Drift:
    """What cutting one site does to the loss on the calibration text to first order, E[gᵀ Δ x].

    A model that is as good as it can be on a text has none there; on real texts it is of the size of the second order
    (measured: assets/measurements.md), and four fifths of it are found again on other windows.
    """

    ranks: np.ndarray  # (G,) rising, from 0 to the largest
    mean: np.ndarray  # (G,) nats per token, negative where the cut helps
    by_window: np.ndarray  # (N, G) the same in each of the first windows
    tokens: int  # that the mean is of

    def expected(self, rank: int | np.ndarray) -> np.ndarray:
        """Nats per token that are expected in a plan on other text: the mean, shrunk by what chance gives in so few
        tokens, and because the gains of many cuts overlap (assets/measurements.md)."""
        return np.interp(rank, self.ranks, self.mean) * self.tokens / (self.tokens + DRIFT_TRUST)

    def windows(self, rank: int, count: int) -> np.ndarray:
        """(count,) nats per token in the first windows; the mean for those that were not kept apart."""
        found = np.full(count, float(np.interp(rank, self.ranks, self.mean)))
        own = [float(np.interp(rank, self.ranks, row)) for row in self.by_window[:count]]
        found[: len(own)] = own
        return found
