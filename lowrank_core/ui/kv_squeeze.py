"""The KV cache on the Squeeze page: its curves, the plan's latents, and bytes per token dense and now."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from .. import plots
from ..errors import LowRankError
from ..kv.plan import KVPlan
from . import plot
from .view import View
from .words import percent, size

UNKNOWN = "What latents cost is not known yet for this model and text: it is computed when the slider rests."


@dataclass(frozen=True)
class KVShown:
    """One state of plot H."""

    plot: object
    caption: str
    readout: str


@dataclass(frozen=True)
class KVPart:
    """The components."""

    plot: gr.Plot
    caption: gr.Markdown
    readout: gr.Markdown

    @property
    def shown(self) -> list:
        return [self.plot, self.caption, self.readout]


def draw(view: View) -> KVShown | None:
    """Plot H of a recipe from stored curves; None where there are none. Raises the LowRankError of a bad ratio."""
    curves, recipe = view.kv, view.recipe
    if view.body is None or curves is None:
        return None
    plan = view.kv_plan or KVPlan({u.path: None for u in curves.units})
    return KVShown(
        plots.latent_curves(curves.units, curves.losses, plan, 1 - recipe.kv_ratio),
        f"{plots.latent_caption(curves.units, plan)} *Predicted: {view.setting}.*",
        readout(view, plan),
    )


def readout(view: View, plan: KVPlan) -> str:
    """Bytes per token and at the model's context, dense and now."""
    curves, body = view.kv, view.body
    dense, now = (n * body.element_size for n in (sum(u.parameters for u in curves.units), plan.stored(curves.units)))
    full, least = (size(n * body.context) for n in (dense, now))
    whole = f"KV cache {size(now)} per token of {size(dense)}, {least} of {full} at {body.context} tokens"
    if view.kv_plan:
        whole += (
            f" (**{percent(plan.ratio(curves.units))}** not stored). "
            f"Predicted: **+{curves.predicted(plan):.4f}** nats per token"
        )
    if curves.dense:
        why = next(iter(curves.dense.values()))
        return f"{whole}. The caches of {len(curves.dense)} blocks stay as they are: {why}."
    return whole + "."


def values(view: View) -> list:
    """Values of `KVPart.shown`; what is not known stays as it is."""
    if view.saved:
        blocks = view.saved.latents
        said = f"{blocks} blocks store latents." if blocks else "All blocks store their keys and values whole."
        return [plots.nothing("What latents cost is told by the dense model."), said, ""]
    try:
        shown = draw(view)
    except LowRankError as error:
        return [gr.skip(), gr.skip(), str(error)]
    return [gr.skip(), UNKNOWN, ""] if shown is None else [shown.plot, shown.caption, shown.readout]


def layout(view: View, readout: gr.Markdown) -> KVPart:
    """Plot H, filled with the bundled study; `readout` stands beside the slider."""
    first = draw(view)
    shown, caption = plot.drawn("H", "The KV cache", first and first.plot, first.caption if first else UNKNOWN)
    return KVPart(shown, caption, readout)
