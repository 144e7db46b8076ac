"""Plots C and D: the singular values of one site under every method, and what a cut costs its outputs."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ..types import Spectrum
from .style import OKABE_ITO, figure, look, mark

RANK = "rank"  # the name of the mark that the keep slider moves


def spectrum(
    spectra: Sequence[Spectrum],
    labels: Mapping[str, str],
    rank: int | None,
    break_even: int,
    cost_per_rank: int,
    planned: int | None = None,
) -> go.Figure:
    """σ_i / σ_1 of the weight as each method sees it, log-log; marked: the chosen rank, break-even, the plan's rank.

    Methods that see the same, as NSVD's first cut is ASVD's, share a line.
    """
    made, looks = figure(), look(labels)
    seen: list[tuple[np.ndarray, go.Scatter]] = []
    for s in spectra:
        same = next((line for sigma, line in seen if np.array_equal(sigma, s.sigma)), None)
        if same is not None:
            same.name += f", {labels[s.method]}"
            continue
        color, dash, _ = looks[s.method]
        i = np.arange(1, len(s.sigma) + 1)
        top = max(float(s.sigma[0]), 1e-30)
        made.add_scatter(
            x=i,
            y=np.maximum(s.sigma / top, 1e-9),
            mode="lines",
            line={"color": color, "dash": dash, "width": 2},
            name=labels[s.method],
            customdata=np.stack([s.sigma, 100 * s.energy_kept[1:], i * cost_per_rank], 1),
            meta=["sigma", "energy kept, %", "parameters"],
            hovertemplate="i = %{x}, σ = %{customdata[0]:.3g}<br>energy kept %{customdata[1]:.2f} %<br>"
            "%{customdata[2]:,} parameters<extra>" + labels[s.method] + "</extra>",
        )
        seen.append((s.sigma, made.data[-1]))
    made.update_xaxes(title="index i of the singular value", type="log")
    made.update_yaxes(title="σᵢ / σ₁", type="log")
    mark_log(made, break_even, "break-even", dash="dot")
    made.layout.annotations[-1].y = 0.12  # above the rank's, which may stand close by
    if planned is not None:
        mark_log(made, planned, f"plan {planned}", dash="dash")
        made.layout.annotations[-1].y = 0.22
    if rank is not None:
        mark_log(made, rank, f"rank {rank}", OKABE_ITO[3], name=RANK)
    return made


def cut_error(
    spectra: Sequence[Spectrum],
    labels: Mapping[str, str],
    rank: int | None,
    break_even: int,
    measured: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> go.Figure:
    """Output error against rank, as a share of the output's energy: predicted on the calibration text (dashed, hollow).

    `measured`: method → (ranks, errors) on held-out text (solid, filled).
    """
    made, looks = figure(), look(labels)
    for s in spectra:
        color, _, symbol = looks[s.method]
        sparse = len(s.ranks) < 40
        last = len(s.ranks) - sparse  # between few ranks and the full one, a line on a log axis would be made up
        made.add_scatter(
            x=s.ranks[:last],
            y=np.maximum(s.output_error[:last] / max(s.energy, 1e-30), 1e-6),
            mode="lines+markers" if sparse else "lines",
            line={"color": color, "dash": "dash", "width": 2},
            marker={"symbol": f"{symbol}-open", "size": 7},
            name=f"{labels[s.method]}, predicted",
            hovertemplate="rank %{x}: error %{y:.3%}<extra>" + labels[s.method] + ", predicted</extra>",
        )
    for method, (ranks, errors) in (measured or {}).items():
        color, _, symbol = looks[method]
        made.add_scatter(
            x=ranks,
            y=np.maximum(errors, 1e-6),
            mode="lines+markers",
            line={"color": color, "width": 1.5},
            marker={"symbol": symbol, "size": 7, "color": color},
            name=f"{labels[method]}, held out",
            hovertemplate="rank %{x}: error %{y:.3%}<extra>" + labels[method] + ", measured on held-out text</extra>",
        )
    made.update_xaxes(title="rank")
    made.update_yaxes(title="output error" if measured else "output error, predicted", type="log", tickformat=".0e")
    mark(made, break_even, "break-even", dash="dot")
    made.layout.annotations[-1].y = 0.12
    if rank is not None:
        mark(made, rank, f"rank {rank}", OKABE_ITO[3], name=RANK)
    return made


def mark_log(
    made: go.Figure, x: float, text: str, color: str | None = None, dash: str = "solid", name: str | None = None
) -> None:
    """A vertical mark on a log axis: shapes there take the value, annotations its log10."""
    extra = {"color": color} if color else {}
    mark(made, x, text, dash=dash, name=name, **extra)
    made.layout.annotations[-1].x = float(np.log10(max(x, 1)))
