"""Lesson 1: a cut to rank 1 keeps one direction; SVD finds the one that loses least."""

import numpy as np

from .base import Control, Lesson, percent
from .plane import WEIGHT, Plane, covariance, plane, rank_one, weight_error

CONTROL = Control("Kept direction, degrees from the long axis", -90, 90, 1, 45, 0)


def keeping(degrees: float) -> np.ndarray:
    """The weight on one direction v of its inputs alone, W v vᵀ."""
    v = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    return np.outer(WEIGHT @ v, v)


def picture(layers, choice, degrees: float) -> Plane:
    cut = keeping(degrees)
    caption = f"Kept at {degrees:g}°: {percent(weight_error(cut))} of the matrix is lost."
    return plane(covariance(1, 1), {"after the cut": cut}, caption, 3.4)


def figures(layers, choice) -> dict[str, str]:
    return {"weight_error": percent(weight_error(rank_one(WEIGHT)))}


LESSON = Lesson("1-cut", lambda choice: CONTROL, picture, figures)
