"""The plane of the first four lessons: one 2 × 2 matrix, inputs with a covariance, and a cut to rank 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WEIGHT = np.diag([3.0, 1.0])
LOUD, QUIET = 2.0, 0.2  # spreads of the inputs, from the second lesson on
_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 97)) for f in (np.cos, np.sin)])  # (2, 97)


@dataclass(frozen=True)
class Plane:
    """What the cut does to the inputs that lie one standard deviation out."""

    inputs: np.ndarray  # (2, 97)
    outputs: np.ndarray  # (2, 97)
    cuts: dict[str, np.ndarray]  # name → (2, 97) outputs of the cut matrix
    caption: str
    reach: float  # the axes go from −reach to reach


def plane(covariance: np.ndarray, cuts: dict[str, np.ndarray], caption: str, reach: float) -> Plane:
    """The Plane of inputs with a covariance (2, 2) under cut matrices (2, 2)."""
    inputs = eigen_root(covariance) @ _CIRCLE
    return Plane(inputs, WEIGHT @ inputs, {name: cut @ inputs for name, cut in cuts.items()}, caption, reach)


def covariance(first: float, second: float, correlation: float = 0.0) -> np.ndarray:
    """(2, 2) of inputs with two standard deviations and a correlation."""
    both = correlation * first * second
    return np.array([[first**2, both], [both, second**2]])


def rank_one(matrix: np.ndarray) -> np.ndarray:
    """The best rank-1 approximation of a matrix."""
    u, s, v = np.linalg.svd(matrix)
    return s[0] * np.outer(u[:, 0], v[0])


def cut_in(root: np.ndarray) -> np.ndarray:
    """The rank-1 cut of the weight in the metric of an input root: scaled, cut, scaled back."""
    return rank_one(WEIGHT @ root) @ np.linalg.inv(root)


def eigen_root(matrix: np.ndarray) -> np.ndarray:
    """P Λ^½ of a symmetric matrix P Λ Pᵀ."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0))


def weight_error(cut: np.ndarray) -> float:
    """‖W − Ŵ‖ / ‖W‖, Frobenius."""
    return float(np.linalg.norm(WEIGHT - cut) / np.linalg.norm(WEIGHT))


def output_error(cut: np.ndarray, covariance: np.ndarray) -> float:
    """√(tr Δ C Δᵀ / tr W C Wᵀ), Δ = W − Ŵ: the share of the outputs' root mean square that is lost."""
    lost = WEIGHT - cut
    return float(np.sqrt(np.trace(lost @ covariance @ lost.T) / np.trace(WEIGHT @ covariance @ WEIGHT.T)))
