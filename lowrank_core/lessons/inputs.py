"""Lesson 2: the inputs are not a circle, and the best cut of the weight is not the best for the outputs."""

from .base import Control, Lesson, percent
from .plane import LOUD, QUIET, WEIGHT, Plane, covariance, output_error, plane, rank_one, weight_error

CONTROL = Control("Spread of the second input", QUIET, LOUD, 0.1, QUIET, LOUD)


def picture(layers, choice, spread: float) -> Plane:
    cut, c = rank_one(WEIGHT), covariance(QUIET, spread)
    caption = (
        f"Spreads {QUIET:g} and {spread:.3g}: weight error {percent(weight_error(cut))}, "
        f"output error {percent(output_error(cut, c))}."
    )
    return plane(c, {"after the cut": cut}, caption, 2.3)


def figures(layers, choice) -> dict[str, str]:
    cut = rank_one(WEIGHT)
    return {
        "quiet": f"{QUIET:g}",
        "loud": f"{LOUD:g}",
        "weight_error": percent(weight_error(cut)),
        "output_error": percent(output_error(cut, covariance(QUIET, LOUD))),
    }


LESSON = Lesson("2-inputs", lambda choice: CONTROL, picture, figures)
