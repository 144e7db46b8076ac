"""Plot G: bytes against perplexity, whole model."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from .style import INK, figure, look


def tradeoff(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    measured: Sequence[dict],
    dense: tuple[float, float] | None,
    labels: Mapping[str, str],
) -> go.Figure:
    """A curve per method: predicted hollow and dashed, measured solid; the dense model a star; the present one ringed.

    Bytes in MB (10⁶); each measured dict has method, bytes, perplexity, label, now, and may have a key for clicks.
    """
    made, looks = figure(height=400), look(labels)
    for method, row in curves.items():
        color, _, symbol = looks[method]
        made.add_scatter(
            x=[b / 1e6 for b, _ in row],
            y=[p for _, p in row],
            mode="lines+markers",
            name=f"{labels[method]}, predicted",
            line={"color": color, "dash": "dash", "width": 1.5},
            marker={"symbol": f"{symbol}-open", "size": 7},
            hovertemplate="%{x:.2f} MB: perplexity %{y:.2f}<extra>" + labels[method] + ", predicted</extra>",
        )
    for method in dict.fromkeys(m["method"] for m in measured):
        color, _, symbol = looks[method]
        own = [m for m in measured if m["method"] == method]
        made.add_scatter(
            x=[m["bytes"] / 1e6 for m in own],
            y=[m["perplexity"] for m in own],
            mode="markers",
            name=f"{labels[method]}, measured",
            marker={"symbol": symbol, "size": 11, "color": color},
            text=[m["label"] for m in own],
            customdata=[[m.get("key", "")] for m in own],
            hovertemplate="%{x:.2f} MB: perplexity %{y:.3f}<br>%{text}<extra>measured</extra>",
        )
    for m in (m for m in measured if m["now"]):
        made.add_scatter(
            x=[m["bytes"] / 1e6],
            y=[m["perplexity"]],
            mode="markers",
            showlegend=False,
            hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 20, "color": INK, "line": {"width": 2}},
        )
    if dense:
        made.add_scatter(
            x=[dense[0] / 1e6],
            y=[dense[1]],
            mode="markers",
            name="dense, measured",
            marker={"symbol": "star", "size": 14, "color": INK},
            hovertemplate="%{x:.2f} MB: perplexity %{y:.3f}<extra>dense, measured</extra>",
        )
    made.update_xaxes(title="whole model, MB")
    made.update_yaxes(title="perplexity, held-out text", type="log")
    return made
