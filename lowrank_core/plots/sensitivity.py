"""Plot E: what each site loses at each keep, predicted and measured."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ..types import Point, Site
from .style import column, figure, look, mark

FLOOR = 1e-5  # nats: what is smaller, or negative, is drawn here


def sensitivity_curves(
    predicted: Mapping[str, tuple[np.ndarray, np.ndarray]],
    points: Mapping[str, Mapping[float, Point]],
    sites: Sequence[Site],
    selected: str | None,
    keep: float,
    believed: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> go.Figure:
    """Δnll against keep, one line per site coloured by role: predicted dashed and hollow, measured solid and filled.

    believed: of the selected site (K,) keeps, expected losses and their standard deviations, drawn as a band.
    """
    made, looks = figure(height=380), look(dict.fromkeys(s.role for s in sites))
    for role, (color, _, symbol) in looks.items():
        own = [s for s in sites if s.role == role]
        _add(made, own, {s.path: predicted[s.path] for s in own if s.path in predicted}, role, color, symbol, 1.0, 0.45)
        _add_measured(made, own, points, role, color, symbol, 1.3, 0.65)
    if believed is not None:
        _add_band(made, *believed)
    for s in (s for s in sites if s.path == selected):
        color, _, symbol = looks[s.role]
        _add(made, [s], {s.path: predicted[s.path]} if s.path in predicted else {}, s.label, color, symbol, 3.0, 1.0)
        _add_measured(made, [s], points, f"{s.label}", color, symbol, 4.0, 1.0)
    made.update_xaxes(title="keep: share of the site's parameters", range=[0.05, 0.95], tickformat=".0%")
    made.update_yaxes(
        title="loss above dense, nats per token",
        type="log",
        exponentformat="power",
        autorangeoptions={"minallowed": math.log10(FLOOR) - 0.1},  # bars of points that are drawn there reach below
    )
    mark(made, keep, f"keep {keep:.0%}", name="keep")
    return made


def _add_band(made, keeps, mean, sd) -> None:
    """What is believed once prediction and measurements are weighed: one standard deviation to either side."""
    low, high = np.maximum(mean - sd, FLOOR), np.maximum(mean + sd, FLOOR)
    made.add_scatter(
        x=[*map(float, keeps), *map(float, keeps[::-1])],
        y=[round(float(v), 8) for v in (*high, *low[::-1])],
        mode="lines",
        fill="toself",
        fillcolor="rgba(128,128,128,0.25)",
        line={"width": 0},
        name="believed ± 1 sd",
        hoverinfo="skip",
    )


def _add(made, sites, curves, name, color, symbol, width, opacity) -> None:
    x, y, data = [], [], []
    for s in sites:
        if s.path not in curves:
            continue
        keeps, deltas = curves[s.path]
        x += [*map(float, keeps), None]
        y += [*(round(max(float(d), FLOOR), 8) for d in deltas), None]
        data += [[s.path, s.label, f"{float(d):+.2g}"] for d in deltas] + [None]
    made.add_scatter(
        x=column(x),
        y=column(y),
        customdata=column(data),
        mode="lines+markers",
        name=f"{name}, predicted",
        legendgroup=name,
        showlegend=False,
        opacity=opacity,
        line={"color": color, "dash": "dash", "width": width},
        marker={"symbol": f"{symbol}-open", "size": 5},
        hovertemplate="%{customdata[1]}: %{customdata[2]} at keep %{x:.0%}<extra>predicted</extra>",
    )


def _add_measured(made, sites, points, name, color, symbol, width, opacity) -> None:
    x, y, data, up, down = [], [], [], [], []
    for s in sites:
        for keep, p in sorted(points.get(s.path, {}).items()):
            x.append(keep)
            y.append(round(max(p.delta_nll, FLOOR), 8))
            up.append(round(p.stderr, 8) if p.delta_nll > FLOOR else 0)  # from the floor a bar would say nothing
            down.append(round(min(p.stderr, 0.9 * y[-1]), 8))  # below nothing there is no room on a log axis
            data.append([s.path, f"{s.label}, rank {p.rank}: {p.delta_nll:+.2g} ± {p.stderr:.1g}"])
        x.append(None)
        y.append(None)
        up.append(None)
        down.append(None)
        data.append(None)
    made.add_scatter(
        x=column(x),
        y=column(y),
        customdata=column(data),
        mode="lines+markers",
        name=f"{name}, measured",
        legendgroup=name,
        opacity=opacity,
        line={"color": color, "dash": "solid", "width": width},
        marker={"symbol": symbol, "size": 6, "color": color},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": column(up),
            "arrayminus": column(down),
            "thickness": 0.8,
            "width": 0,
        },
        hovertemplate="%{customdata[1]}<extra>measured</extra>",
    )
