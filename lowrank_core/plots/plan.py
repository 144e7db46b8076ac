"""Plot F: what every site keeps."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ..types import Plan, Priced, cost
from .style import INK, OKABE_ITO, figure


def plan_map(
    plan: Plan, sites: Sequence[Priced], predicted: Mapping[str, float], selected: str | None = None
) -> go.Figure:
    """Block × role, coloured by keep; dense sites are framed; hover: rank, parameters, share of the predicted loss.

    predicted: loss per path; {} where none is.
    """
    roles = list(dict.fromkeys(s.role for s in sites))
    blocks = sorted({s.block for s in sites})
    total = sum(max(v, 0) for v in predicted.values()) or 1.0
    z = np.full((len(roles), len(blocks)), np.nan)
    text = np.full(z.shape, "", object)
    paths = np.full(z.shape, "", object)
    dense_x, dense_y = [], []
    for s in sites:
        at, rank = (roles.index(s.role), blocks.index(s.block)), plan.ranks[s.path]
        kept = cost(s, rank)
        z[at], paths[at] = kept / s.parameters, s.path
        what = "dense" if rank is None else f"rank {rank} of {s.max_rank}"
        text[at] = (
            f"{s.label}: {what}<br>{kept:,} of {s.parameters:,} parameters"
            + (f"<br>{max(predicted.get(s.path, 0), 0) / total:.1%} of the predicted loss" if predicted else "")
        )
        if rank is None:
            dense_x.append(s.block)
            dense_y.append(s.role)
    made = figure(height=300)
    made.add_heatmap(
        z=z,
        x=blocks,
        y=roles,
        text=text,
        customdata=paths,
        meta=["layer"],
        name="keep",
        hovertemplate="%{text}<extra></extra>",
        colorscale="Cividis",
        zmin=0,
        zmax=1,
        colorbar={"title": {"text": "keep"}, "tickformat": ".0%", "thickness": 12},
        xgap=2,
        ygap=2,
    )
    made.add_scatter(
        x=dense_x,
        y=dense_y,
        mode="markers",
        marker={"symbol": "square-open", "size": 12, "color": INK, "line": {"width": 2}},
        name="dense",
        hoverinfo="skip",
    )
    made.update_xaxes(title="block", dtick=1, showgrid=False)
    made.update_yaxes(autorange="reversed", showgrid=False, type="category")
    for s in (s for s in sites if s.path == selected):
        y = roles.index(s.role)
        made.add_shape(
            type="rect",
            x0=s.block - 0.5,
            x1=s.block + 0.5,
            y0=y - 0.5,
            y1=y + 0.5,
            line={"color": OKABE_ITO[3], "width": 3},
        )
    return made
