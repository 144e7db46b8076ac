"""What each candidate costs, as far as it is known: predictions and measurements combined by their uncertainties.

The loss of a candidate is its second-order loss times a factor near 1, and its first-order loss. What is known of the
factors' logarithms beforehand is a Gaussian: candidates of one site, role or block err alike, and so do neighbouring
keeps of one site. Measurements then say more, each as much as its spread over windows allows (Gaussian process
regression with a Laplace approximation; Rasmussen and Williams 2006, §2.2 and §3.4). A loss of 0.0005 nats drowns in
that spread and is best predicted; one of 0.5 is best measured. Where a window's first-order loss is known, a
measurement on it tells the rest without that noise (a control variate; Owen, Monte Carlo theory, 2013, §8.9).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Standard deviations of log(measured ÷ predicted): by maximum likelihood on the full tables (asvd-i and svd) of the
# bundled model and of stories260K, which agree.
OVERALL, ROLE, BLOCK, SITE, OWN = 0.25, 0.3, 0.35, 0.28, 0.05
ALIKE = 3.0  # difference in keep over which the factors of one site lose touch by 1/e
WINDOW = 0.13  # a window's loss difference spreads by about WINDOW · √predicted, in nats (the same tables)
RESIDUAL = 0.45  # and by RESIDUAL · predicted once its first-order loss is taken off
TRUST = 4  # windows that this law counts for beside a point's own spread
STEPS, FARTHEST = 6, 3.0  # Newton steps; a factor is believed to be within e^±3
LEAST = 1e-7  # nats: below it nothing is predicted


@dataclass(frozen=True)
class Beliefs:
    """The sensitivity table, believed: (S, K) over sites and candidate keeps."""

    predicted: np.ndarray  # nats, from spectra, to second order alone
    factor: np.ndarray  # expected loss ÷ predicted loss, the first order apart
    spread: np.ndarray  # standard deviation of its logarithm
    law: np.ndarray  # variance of one window's loss, nats²
    drift: np.ndarray | float = 0.0  # nats of the first order

    @property
    def mean(self) -> np.ndarray:
        """(S, K) expected loss above dense, nats per token."""
        return self.factor * self.predicted + self.drift

    @property
    def sd(self) -> np.ndarray:
        """(S, K) nats."""
        return self.spread * self.factor * self.predicted

    def surprise(self, windows: int | np.ndarray) -> np.ndarray:
        """(S, K) nats by which the expected loss is likely to move when so many further windows are measured."""
        variance = self.spread**2
        scale = self.factor * np.maximum(self.predicted, LEAST)
        noise = self.law / scale**2 / np.maximum(windows, 1)
        return np.where(np.asarray(windows) > 0, variance / np.sqrt(variance + noise), 0.0) * scale


def law_of(predicted: np.ndarray, drifting: bool) -> np.ndarray:
    """Variance of one window's loss, nats²; `drifting`: with its first order taken off."""
    predicted = np.maximum(predicted, LEAST)
    return (RESIDUAL * predicted) ** 2 if drifting else WINDOW**2 * predicted


def noise_of(spread: np.ndarray, windows: np.ndarray, law: np.ndarray) -> np.ndarray:
    """Variance of a point's mean, nats²: its spread over windows (standard deviation) and the law of all, pooled."""
    return (TRUST * law + (windows - 1) * spread**2) / (TRUST + windows - 1) / windows


def believe(
    roles: Sequence[str],
    blocks: Sequence[int],
    keeps: np.ndarray,
    predicted: np.ndarray,
    measured: np.ndarray,
    noise: np.ndarray,
    law: np.ndarray | None = None,
    drift: np.ndarray | float = 0.0,
) -> Beliefs:
    """The Beliefs about a table: predicted (S, K) nats; measured (S, K) nats, NaN where nothing is, with its variance.

    keeps (K,); roles and blocks: of each of the S sites. drift (S, K): the first-order loss, which `measured` is
    without; law: see `law_of`.
    """
    law = law_of(predicted, False) if law is None else law
    sites, candidates = predicted.shape
    scale = np.maximum(predicted, LEAST).ravel()
    prior = OVERALL**2 + ROLE**2 + BLOCK**2 + SITE**2 + OWN**2
    at = np.flatnonzero(~np.isnan(measured.ravel()) & (predicted.ravel() > LEAST))
    if not at.size:
        flat = np.ones_like(predicted)
        return Beliefs(predicted, flat, np.sqrt(prior) * flat, law, drift)
    of_site = np.repeat(np.arange(sites), candidates)
    of_role = np.unique(np.asarray(roles), return_inverse=True)[1][of_site]
    of_block, keep = np.asarray(blocks)[of_site], np.tile(keeps, sites)

    def alike(rows: np.ndarray | slice) -> np.ndarray:
        """Covariance of the factors of these rows with those of the measured points."""
        shared = (
            OVERALL**2
            + ROLE**2 * (of_role[rows, None] == of_role[at])
            + BLOCK**2 * (of_block[rows, None] == of_block[at])
            + SITE**2 * (of_site[rows, None] == of_site[at])
        )
        return shared * np.exp(-np.abs(keep[rows, None] - keep[at]) / ALIKE)

    between = alike(at)
    between[np.diag_indices(at.size)] += OWN**2
    everywhere = alike(slice(None))
    everywhere[at, np.arange(at.size)] += OWN**2  # a point's own error is known to itself alone
    seen, variance = measured.ravel()[at] / scale[at], noise.ravel()[at] / scale[at] ** 2
    log = np.zeros(at.size)  # of the factors at the measured points: Newton steps from the prediction
    for _ in range(STEPS):
        here = np.exp(log)
        lower = np.linalg.cholesky(between + np.diag(variance / here**2))
        weights = _solve(lower, log + np.clip((seen - here) / here, -1, 1))
        log = np.clip(between @ weights, -FARTHEST, FARTHEST)
    half = np.linalg.solve(lower, everywhere.T)  # (n, S K)
    factor = np.exp(np.clip(everywhere @ weights, -FARTHEST, FARTHEST))
    spread = np.sqrt(np.maximum(prior - (half**2).sum(0), 0))
    return Beliefs(predicted, factor.reshape(predicted.shape), spread.reshape(predicted.shape), law, drift)


def _solve(lower: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A⁻¹ values, A = lower lowerᵀ."""
    return np.linalg.solve(lower.T, np.linalg.solve(lower, values))
