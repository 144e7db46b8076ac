"""Plot A: where the loud channels are."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ..types import ChannelSummary
from .style import OKABE_ITO, figure

TICKS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 300, 1000)


def outlier_map(summaries: Sequence[ChannelSummary], selected: str | None = None) -> go.Figure:
    """Block × input group, coloured by log10 of loudest channel rms / median channel rms.

    The selected group is outlined.
    """
    names = list(dict.fromkeys(s.group.partition(".")[2] for s in summaries))
    blocks = sorted({int(s.group.partition(".")[0]) for s in summaries})
    z = np.full((len(names), len(blocks)), np.nan)
    text = np.full(z.shape, "", object)
    keys = np.full(z.shape, "", object)
    for s in summaries:
        block, _, name = s.group.partition(".")
        at = names.index(name), blocks.index(int(block))
        top = s.top_channel
        z[at] = np.log10(s.outlier_ratio)
        keys[at] = s.group
        text[at] = (
            f"block {block}, input of {name}<br>channel {top} of {len(s.rms)} is {s.outlier_ratio:.1f} × the median<br>"
            f"rms {s.rms[top]:.3g}, kurtosis {s.kurtosis[top]:.3g}<br>"
            f"{100 * s.energy_share[top]:.1f} % of the energy<br>{s.tokens:,} tokens, measured"
        )
    made = figure()
    ticks = [t for t in TICKS if np.nanmin(z) <= np.log10(t) <= np.nanmax(z)]
    made.add_heatmap(
        z=z,
        x=blocks,
        y=names,
        customdata=keys,
        meta=["input group"],
        name="log10(loudest / median channel)",
        text=text,
        hovertemplate="%{text}<extra></extra>",
        colorscale="Viridis",
        colorbar={
            "tickvals": [float(np.log10(t)) for t in ticks],
            "ticktext": [f"{t}×" for t in ticks],
            "thickness": 12,
        },
        xgap=2,
        ygap=2,
    )
    made.update_xaxes(title="block", dtick=1, showgrid=False)
    made.update_yaxes(autorange="reversed", showgrid=False, type="category")
    if selected and any(s.group == selected for s in summaries):
        block, _, name = selected.partition(".")
        x, y = int(block), names.index(name)
        made.add_shape(
            type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line={"color": OKABE_ITO[3], "width": 3}
        )
    return made
