"""The training loss over the tokens seen."""

from collections.abc import Sequence

import plotly.graph_objects as go

from .style import OKABE_ITO, figure


def loss_curve(log: Sequence[dict]) -> go.Figure:
    """Loss against tokens; each dict has tokens and loss (nats per token)."""
    rows = sorted(log, key=lambda row: row["tokens"])
    made = figure(showlegend=False)
    made.add_scatter(
        x=[row["tokens"] for row in rows],
        y=[row["loss"] for row in rows],
        mode="lines",
        name="loss, measured",
        line={"color": OKABE_ITO[0], "dash": "solid", "width": 2},
        hovertemplate="%{x:,} tokens: loss %{y:.3f} nats<extra>measured</extra>",
    )
    made.update_xaxes(title="tokens seen in training")
    made.update_yaxes(title="loss, nats per token")
    return made
