"""A few questions to a running studio through `gradio_client`.

Answers come from the store, in milliseconds, with no model run.
"""

from __future__ import annotations

import gradio as gr

from ..allocation import ALLOCATORS
from ..errors import LowRankError
from ..methods import METHODS
from ..study.recipe import recipe_of
from .house import House


def connect(house: House) -> None:
    """Offer /methods, /outliers and /plan on the page being built."""

    def methods() -> dict:
        """The registries: key → one line."""
        return {
            "methods": {k: m.line for k, m in METHODS.items()},
            "allocators": {k: a.line for k, a in ALLOCATORS.items()},
        }

    def outliers() -> list:
        """Per input group of the bundled model: its outlier ratio and loudest channel."""
        view = house.view(recipe_of({}))
        return [
            {"group": s.group, "outlier_ratio": s.outlier_ratio, "top_channel": s.top_channel} for s in view.summaries
        ]

    def plan(method: str, allocator: str, ratio: float) -> dict:
        """The bundled model's plan at a ratio: ranks, ratio achieved, predicted nll above dense."""
        try:
            view = house.view(recipe_of({"method": method, "allocator": allocator, "ratio": ratio}))
            made = view.plan(view.points)
        except LowRankError as error:
            raise gr.Error(f"{error.message} {error.hint}") from None
        return {
            "ranks": made.site_ranks(view.units),
            "ratio_achieved": made.ratio(view.units),
            "predicted_nll": view.predicted(made),
        }

    for function in (methods, outliers, plan):
        gr.api(function, api_name=function.__name__, concurrency_limit=8)
