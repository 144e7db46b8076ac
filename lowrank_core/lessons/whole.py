"""Lesson 4: from a diagonal to the whole covariance; any root of it gives the same cut (ASVD-I and ASVD-II)."""

import numpy as np

from .base import Control, Lesson, percent
from .plane import LOUD, QUIET, WEIGHT, Plane, covariance, cut_in, eigen_root, output_error, plane

CONTROL = Control("Correlation of the two inputs", 0, 0.95, 0.05, 0, 0.9)
DIAGONAL = cut_in(np.diag([QUIET, LOUD]))  # α = 1: the scaling knows both spreads, and no correlation


def roots(correlation: float) -> dict[str, np.ndarray]:
    """Two roots S of the inputs' covariance, S Sᵀ = C: Cholesky, and eigenvectors."""
    c = covariance(QUIET, LOUD, correlation)
    return {"Cholesky": np.linalg.cholesky(c), "eigenvectors": eigen_root(c)}


def tail(root: np.ndarray) -> float:
    """The discarded singular value of W S as a share of all: it is the output error."""
    sigma = np.linalg.svd(WEIGHT @ root, compute_uv=False)
    return float(sigma[1] / np.linalg.norm(sigma))


def picture(layers, choice, correlation: float) -> Plane:
    c, whole = covariance(QUIET, LOUD, correlation), cut_in(roots(correlation)["Cholesky"])
    caption = (
        f"Correlation {correlation:.2f}: output error {percent(output_error(DIAGONAL, c))} with the diagonal, "
        f"{percent(output_error(whole, c))} with the whole covariance. "
        f"Discarded singular value: {percent(tail(roots(correlation)['eigenvectors']))}."
    )
    return plane(c, {"diagonal": DIAGONAL, "whole covariance": whole}, caption, 2.3)


def figures(layers, choice) -> dict[str, str]:
    c = covariance(QUIET, LOUD, CONTROL.told)
    return {
        "correlation": f"{CONTROL.told:g}",
        "diagonal": percent(output_error(DIAGONAL, c)),
        "whole": percent(output_error(cut_in(roots(CONTROL.told)["Cholesky"]), c)),
        "tail": percent(tail(roots(CONTROL.told)["eigenvectors"])),
    }


LESSON = Lesson("4-whole", lambda choice: CONTROL, picture, figures)
