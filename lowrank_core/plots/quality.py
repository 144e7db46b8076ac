"""The benchmark's plot: loss above dense against the share kept, one line per combination."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import plotly.graph_objects as go

from .style import figure, look

FLOOR = 1e-4  # nats: what a log axis shows of less


class Result(Protocol):
    """A row of a benchmark."""

    method: str
    allocator: str
    storage: str
    text: str
    ratio_achieved: float
    nll_above_dense: float


def quality_plot(rows: Iterable[Result], text: str, dense_perplexity: float) -> go.Figure:
    """Δnll (nats per token, log scale) against keep on one test text; seeds are averaged."""
    lines: dict[str, dict[float, list[Result]]] = {}
    for row in rows:
        if row.text == text:
            label = f"{row.method.strip('*')} · {row.allocator} · {row.storage}"
            lines.setdefault(label, {}).setdefault(row.ratio_asked, []).append(row)
    made, looks = figure(height=560), look(dict.fromkeys(label.split(" · ")[0] for label in lines))
    for label, ratios in lines.items():
        color, dash, symbol = looks[label.split(" · ")[0]]
        keeps = (1 - _mean([r.ratio_achieved for r in of]) for of in ratios.values())
        losses = (_mean([r.nll_above_dense for r in of]) for of in ratios.values())
        found = sorted(zip(keeps, losses, strict=True))
        made.add_scatter(
            x=[keep for keep, _ in found],
            y=[max(loss, FLOOR) for _, loss in found],
            name=label,
            mode="lines+markers",
            line={"color": color, "dash": "solid" if "waterfill" in label else dash},
            marker={"symbol": symbol, "size": 7},
        )
    made.update_xaxes(title="keep: share of the layers' parameters", tickformat=".0%")
    made.update_yaxes(title=f"nats above dense, {text}", type="log")
    made.update_layout(title=f"{text}: the dense model has perplexity {dense_perplexity:.3f}")
    return made


def quality_caption(text: str, dense_perplexity: float) -> str:
    """What the plot is measured against, and what it cannot show."""
    return (
        f"Measured on {text}, where the dense model has perplexity {dense_perplexity:.3f}. "
        f"Losses of {FLOOR:g} nats or less, and gains, are drawn at {FLOOR:g}."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
