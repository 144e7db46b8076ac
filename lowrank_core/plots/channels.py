"""Plot B: one input group, channel by channel and token by token."""

import numpy as np
import plotly.graph_objects as go

from ..types import ChannelSummary
from .style import INK, OKABE_ITO, figure


def channel_profile(summary: ChannelSummary, by_index: bool = False, alpha: float | None = None) -> go.Figure:
    """Channel rms, sorted on log-log axes with the five loudest named, or along the channel index.

    `alpha`: beside them the rms after ASVD's scaling, x_j / (mean |x_j|)^α, with the same median.
    """
    order = np.arange(len(summary.rms)) if by_index else np.argsort(-summary.rms)
    x = np.arange(len(order)) + (0 if by_index else 1)
    made = figure()
    made.add_scatter(
        x=x,
        y=summary.rms[order],
        mode="markers" if by_index else "lines+markers",
        marker={"size": 4, "color": OKABE_ITO[0]},
        customdata=np.stack([order, summary.abs_max[order], summary.kurtosis[order]], 1),
        meta=["channel", "largest", "kurtosis"],
        name="rms, measured",
        hovertemplate="channel %{customdata[0]}<br>rms %{y:.3g}, largest %{customdata[1]:.3g}, "
        "kurtosis %{customdata[2]:.3g}<extra>measured</extra>",
    )
    if alpha is not None:
        after = rms_after(summary, alpha)
        shown = order if by_index else np.argsort(-after)
        made.add_scatter(
            x=x,
            y=after[shown],
            mode="markers" if by_index else "lines",
            line={"color": OKABE_ITO[1], "dash": "dash"},
            marker={"size": 4, "color": OKABE_ITO[1], "symbol": "square"},
            customdata=shown[:, None],
            meta=["channel"],
            name=f"after scaling by (mean |x|)^{alpha:g}",
            hovertemplate="channel %{customdata[0]}<br>rms %{y:.3g}<extra>after scaling</extra>",
        )
    loud = np.argsort(-summary.rms)[:5]
    made.add_scatter(
        x=loud if by_index else np.arange(1, len(loud) + 1),
        y=summary.rms[loud],
        mode="text",
        text=[str(c) for c in loud],
        textposition=["top right", "bottom left"] * 2 + ["top right"],  # on a phone neighbours would overlap
        hoverinfo="skip",
        showlegend=False,
        textfont={"size": 11},
    )
    median = float(np.median(summary.rms))
    made.add_scatter(
        x=[x[0], x[-1]],
        y=[median, median],
        mode="lines",
        line={"color": INK, "dash": "dot"},
        name="median",
        hoverinfo="skip",
    )
    made.update_xaxes(title="channel" if by_index else "channels, loudest first", type="linear" if by_index else "log")
    made.update_yaxes(title="rms of the activation", type="log")
    return made


def rms_after(summary: ChannelSummary, alpha: float) -> np.ndarray:
    """(d_in,) the channels' rms once each is divided by (mean |x|)^α, brought to the median they had before."""
    return summary.rms * scaling(summary, alpha)


def scaling(summary: ChannelSummary, alpha: float) -> np.ndarray:
    """(d_in,) what each channel is multiplied by: 1 / (mean |x|)^α, brought to the median that the rms had before."""
    tiny = np.finfo(np.float32).tiny
    factors = 1 / np.maximum(summary.abs_mean, tiny) ** alpha
    return factors * np.median(summary.rms) / max(float(np.median(summary.rms * factors)), tiny)


def map_after(summary: ChannelSummary, alpha: float | None) -> np.ndarray:
    """(t, c) |x| of the first tokens in the loudest channels; with `alpha`, after ASVD's scaling."""
    return summary.map_values if alpha is None else summary.map_values * scaling(summary, alpha)[summary.map_channels]


def token_heatmap(summary: ChannelSummary, alpha: float | None = None) -> go.Figure:
    """|x| of the loudest channels over the first tokens: spikes on single tokens show as short bright dashes.

    `alpha`: after ASVD's scaling, the channels in the order they had before it.
    """
    loud = map_after(summary, alpha)
    values = np.log10(np.maximum(loud, 1e-3))
    low, high = int(np.floor(values.min())), int(np.ceil(values.max()))
    labels = [f"{i} {t!r}" for i, t in enumerate(summary.map_tokens)]
    made = figure(height=520)
    made.add_heatmap(
        z=values,
        x=[str(c) for c in summary.map_channels],
        y=labels,
        colorscale="Viridis",
        customdata=loud,
        meta=["|x|"],
        name="log10 |x|, measured",
        hovertemplate="token %{y}<br>channel %{x}<br>|x| = %{customdata:.3g}<extra>measured</extra>",
        colorbar={
            "tickvals": list(range(low, high + 1)),
            "ticktext": [f"{10.0**k:g}" for k in range(low, high + 1)],
            "thickness": 12,
        },
    )
    made.update_xaxes(title="channel, by its loudest token", type="category", showgrid=False)
    made.update_yaxes(autorange="reversed", showgrid=False, tickfont={"size": 9})
    return made
