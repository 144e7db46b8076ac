"""One look for all figures: transparent, readable on white and on black, colour-blind safe."""

import textwrap
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

INK = "#737a88"  # 4.3 : 1 on white, 4.4 : 1 on #0b0f19
GRID = "rgba(128,136,149,0.25)"
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8a8a00", "#7a7a7a")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "5px,2px", "2px,2px")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")


def look(names) -> dict[str, tuple[str, str, str]]:
    """name → (colour, dash, marker symbol), by the order of the names."""
    return {
        n: (OKABE_ITO[i % 8], DASHES[(i + i // 8) % 8], SYMBOLS[(i + 3 * (i // 8)) % 8]) for i, n in enumerate(names)
    }


def figure(height: int = 340, **layout) -> go.Figure:
    """An empty figure in the house's look."""
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True}
    axes = {name: {**axis, **layout.pop(name, {})} for name in ("xaxis", "yaxis")}
    base = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "autosize": True,
        "hovermode": "closest",
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "font": {"size": 11}, "maxheight": 0.37,
                   "tracegroupgap": 0},  # fmt: skip
        "template": "none",
        # few buttons, so that they do not lie over a legend; pictures are taken by the links below a plot
        "modebar": {"remove": ["toImage", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]},
    }
    return go.Figure(layout={**base, **axes, **layout})


def column(values: Sequence) -> np.ndarray:
    """(n,) values that plotly hands on as they are: those of a list it reads one by one, which takes longer than all
    the rest of a figure."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


def nothing(why: str) -> go.Figure:
    """An empty figure that says why there is nothing to draw, in lines that a phone holds."""
    lines = "<br>".join(textwrap.wrap(why, 36))
    made = figure(height=200, xaxis={"visible": False}, yaxis={"visible": False})
    made.add_annotation(text=lines, xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False, font={"size": 13})
    return made


def mark(made: go.Figure, x: float, text: str, color: str = INK, dash: str = "solid", name: str | None = None) -> None:
    """A vertical line over the whole height with a word at its foot; assets/plots.js moves the one of a name."""
    made.add_shape(
        name=name,
        type="line",
        xref="x",
        yref="paper",
        x0=x,
        x1=x,
        y0=0,
        y1=1,
        line={"color": color, "width": 1.5, "dash": dash},
    )
    made.add_annotation(
        name=name,
        xref="x",
        yref="paper",
        x=x,
        y=0.02,
        text=text,
        showarrow=False,
        xanchor="left",
        xshift=3,
        font={"size": 11, "color": color},
    )
