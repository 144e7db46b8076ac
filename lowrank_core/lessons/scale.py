"""Lesson 3: scale the inputs by their loudness to the power α before the cut (ASVD, Eq. 8)."""

import numpy as np

from .base import Control, Lesson, percent
from .plane import LOUD, QUIET, WEIGHT, Plane, covariance, cut_in, output_error, plane, weight_error

FLIP = float(np.log(WEIGHT[0, 0] / WEIGHT[1, 1]) / np.log(LOUD / QUIET))  # both scaled lengths are equal here
CONTROL = Control("α, the power of the scaling", 0, 1, 0.01, 0, round(FLIP + 0.005, 2))
INPUTS = covariance(QUIET, LOUD)


def lengths(alpha: float) -> np.ndarray:
    """(2,) the matrix's stretches after scaling: the longer one is kept."""
    return np.diag(WEIGHT) * np.array([QUIET, LOUD]) ** alpha


def scaled(alpha: float) -> np.ndarray:
    """The cut with S = diag(spread^α)."""
    return cut_in(np.diag(np.array([QUIET, LOUD]) ** alpha))


def picture(layers, choice, alpha: float) -> Plane:
    cut, (first, second) = scaled(alpha), lengths(alpha)
    kept = "first" if first > second else "second"
    caption = (
        f"α = {alpha:.2f}: scaled stretches {first:.2f} and {second:.2f}, the {kept} is kept. "
        f" Output error {percent(output_error(cut, INPUTS))}, weight error {percent(weight_error(cut))}."
    )
    return plane(INPUTS, {"after the cut": cut}, caption, 2.3)


def figures(layers, choice) -> dict[str, str]:
    plain, flipped = scaled(0.0), scaled(1.0)
    return {
        "flip": f"{FLIP:.3f}",
        "plain_output": percent(output_error(plain, INPUTS)),
        "plain_weight": percent(weight_error(plain)),
        "output": percent(output_error(flipped, INPUTS)),
        "weight": percent(weight_error(flipped)),
    }


LESSON = Lesson("3-scale", lambda choice: CONTROL, picture, figures)
