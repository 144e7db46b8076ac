"""The pictures of the lessons: a plane and what a cut leaves of it, errors along the slider, the search."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import plotly.graph_objects as go

from ..types import Priced, cost
from .sensitivity import FLOOR
from .style import INK, OKABE_ITO, figure, look, mark


class Plane(Protocol):
    """Outlines of the inputs, the outputs and the outputs of cut matrices, each (2, n)."""

    inputs: np.ndarray
    outputs: np.ndarray
    cuts: Mapping[str, np.ndarray]
    reach: float


def plane(shown: Plane) -> go.Figure:
    """Inputs dotted, outputs filled, every cut's outputs as the line they fall onto, and the way they fell."""
    made = figure(height=400)
    _outline(made, shown.outputs, "outputs", {"color": OKABE_ITO[0], "width": 2}, fill="toself")
    _outline(made, shown.inputs, "inputs", {"color": INK, "width": 2, "dash": "dot"})
    for (name, cut), (color, _, symbol) in zip(shown.cuts.items(), list(look(range(4)).values())[1:], strict=False):
        gaps = np.full(len(shown.outputs[0, ::4]), None)
        x, y = (np.stack([a[::4], b[::4], gaps], 1).ravel() for a, b in zip(shown.outputs, cut, strict=True))
        made.add_scatter(
            x=x, y=y, mode="lines", line={"color": color, "width": 0.7}, opacity=0.6, hoverinfo="skip", showlegend=False
        )
        _outline(made, cut, name, {"color": color, "width": 5})
        made.add_scatter(
            x=cut[0, ::8], y=cut[1, ::8], mode="markers", marker={"symbol": symbol, "size": 7, "color": color},
            hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    made.update_xaxes(title="first axis", range=[-shown.reach, shown.reach], constrain="domain")
    made.update_yaxes(title="second axis", range=[-shown.reach, shown.reach], scaleanchor="x", constrain="domain")
    return made


def _outline(made: go.Figure, points: np.ndarray, name: str, line: dict, fill: str = "none") -> None:
    made.add_scatter(
        x=points[0].round(4),
        y=points[1].round(4),
        mode="lines",
        name=name,
        line=line,
        fill=fill,
        fillcolor="rgba(0,114,178,0.12)",
        hovertemplate="%{x:.2f}, %{y:.2f}<extra>" + name + "</extra>",
    )


def errors(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], at: float, xaxis: str, yaxis: str, log: bool = False
) -> go.Figure:
    """Measured shares, or nats on a log axis, along the slider's values: a line each, a mark where it stands."""
    made = figure(height=380)
    for (name, values), (color, _, symbol) in zip(lines.items(), look(lines).values(), strict=True):
        made.add_scatter(
            x=list(x),
            y=[round(max(float(v), FLOOR), 6) for v in values],
            mode="lines+markers",
            name=name,
            line={"color": color, "width": 2},
            marker={"symbol": symbol, "size": 8, "maxdisplayed": 13},
            hovertemplate="%{x:.3~g}: %{y" + (":.3~g" if log else ":.1%") + "}<extra>" + name + ", measured</extra>",
        )
    made.update_xaxes(title=xaxis)
    made.update_yaxes(
        title=yaxis, **({"type": "log", "exponentformat": "power", "dtick": 1} if log else {"tickformat": ".0%"})
    )
    mark(made, at, "", OKABE_ITO[3])
    return made


class Replay(Protocol):
    """A step of the search through all (layer, keep) pairs."""

    losses: np.ndarray
    names: Sequence[str]
    cut: int
    low: int
    high: int
    units: Sequence[Priced]
    ranks: Mapping[str, int | None]


def search(shown: Replay) -> go.Figure:
    """Above: every pair's measured loss, falling, those that are applied filled; below: what each layer then keeps."""
    made = figure(height=600)
    places = np.arange(len(shown.losses))
    for name, part, symbol, color in (
        ("left out", places < shown.cut, "circle-open", INK),
        ("applied", places >= shown.cut, "circle", OKABE_ITO[0]),
    ):
        made.add_scatter(
            x=places[part],
            y=np.maximum(shown.losses[part], FLOOR).round(6),
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 5, "color": color},
            customdata=[[n, float(f"{v:.3g}")] for n, v, p in zip(shown.names, shown.losses, part, strict=True) if p],
            meta=["layer", "loss"],
            hovertemplate="%{customdata[0]}: %{customdata[1]:+.2~g}<extra>measured</extra>",
        )
    made.add_shape(
        type="rect", x0=shown.low, x1=shown.high, y0=0, y1=1, yref="y domain", line={"width": 0},
        fillcolor="rgba(213,94,0,0.12)",
    )  # fmt: skip
    made.add_shape(
        type="line", x0=shown.cut, x1=shown.cut, y0=0, y1=1, yref="y domain", line={"color": OKABE_ITO[3], "width": 2}
    )
    roles = list(dict.fromkeys(u.role for u in shown.units))
    blocks = sorted({u.block for u in shown.units})
    keep = np.full((len(roles), len(blocks)), np.nan)
    text = np.full(keep.shape, "", object)
    for u in shown.units:
        at, rank = (roles.index(u.role), blocks.index(u.block)), shown.ranks[u.path]
        keep[at] = cost(u, rank) / u.parameters
        text[at] = f"{u.label}: {'dense' if rank is None else f'rank {rank}'}, keeps {keep[at]:.0%}"
    made.add_heatmap(
        name="keep", z=keep.round(3), x=blocks, y=roles, text=text, hovertemplate="%{text}<extra></extra>",
        xaxis="x2", yaxis="y2",
        colorscale="Cividis", zmin=0, zmax=1, xgap=2, ygap=2,
        colorbar={"title": {"text": "keep"}, "tickformat": ".0%", "thickness": 12, "len": 0.42, "y": 0.21},
    )  # fmt: skip
    axis = made.layout.xaxis.to_plotly_json()
    made.update_layout(
        xaxis={"title": "layer and keep, the dearest first"},
        yaxis={"title": "loss, nats per token", "type": "log", "domain": [0.58, 1], "exponentformat": "power",
               "dtick": 1},
        xaxis2={**axis, "anchor": "y2", "title": "block", "dtick": 1, "showgrid": False},
        yaxis2={**axis, "anchor": "x2", "domain": [0, 0.42], "autorange": "reversed", "showgrid": False,
                "type": "category"},
    )  # fmt: skip
    return made
