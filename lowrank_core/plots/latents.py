"""Plot H: what each block's keys and values lose at each number of latents, and where the plan stands."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ..kv.plan import KVPlan, KVUnit
from .style import figure, mark

FLOOR = 1e-5  # nats: what is smaller is drawn here


def latent_curves(units: Sequence[KVUnit], losses: Mapping[str, np.ndarray], plan: KVPlan, keep: float) -> go.Figure:
    """Predicted Δnll against the share of a block's keys and values that is stored, one dashed line per unit, coloured
    by its depth; a hollow mark where the plan stands on it. The legend names the first and the last."""
    made = figure(height=340)
    depth = max((u.block for u in units), default=0) or 1
    for u in units:
        loss = np.maximum(np.asarray(losses[u.path], float), FLOOR)
        ranks = np.unique(np.linspace(1, u.max_rank, min(u.max_rank, 65)).round().astype(int))
        shade = f"hsl({210 + 130 * u.block / depth:.0f}, 55%, 50%)"
        made.add_scatter(
            x=(ranks / u.d_out).tolist(),
            y=loss[ranks].round(8).tolist(),
            customdata=[[u.label, int(r), f"{losses[u.path][r]:+.2g}"] for r in ranks],
            mode="lines",
            name=u.label,
            showlegend=u in (units[0], units[-1]),
            meta=["unit", "latents", "predicted"],
            line={"color": shade, "dash": "dash", "width": 1.3},
            hovertemplate="%{customdata[0]}: %{customdata[1]} latents, %{customdata[2]}<extra>predicted</extra>",
        )
        if (rank := plan.ranks.get(u.path)) is not None:
            made.add_scatter(
                x=[rank / u.d_out],
                y=[float(loss[rank])],
                customdata=[[u.label, rank]],
                mode="markers",
                showlegend=False,
                marker={"symbol": "circle-open", "size": 9, "color": shade, "line": {"width": 2}},
                hovertemplate="%{customdata[0]}: %{customdata[1]} latents in the plan<extra></extra>",
            )
    made.update_xaxes(title="share of keys and values stored", range=[0, 1.06], tickformat=".0%")
    made.update_yaxes(title="predicted nats above dense", type="log", exponentformat="power", dtick=1)
    mark(made, keep, f"keep {keep:.0%}", name="keep")
    made.layout.annotations[-1].update(y=1, yanchor="top", textangle=-90)  # upright: there is room at 100 %, too
    return made


def latent_caption(units: Sequence[KVUnit], plan: KVPlan) -> str:
    """What plot H shows, in words."""
    ranks = [(u, plan.ranks.get(u.path)) for u in units]
    if all(rank is None for _, rank in ranks):
        return f"Predicted, none measured: {len(units)} curves. Every cache is stored whole."
    shares = {u.label: (u.d_out if rank is None else rank) / u.d_out for u, rank in ranks}
    least, most = min(shares, key=shares.get), max(shares, key=shares.get)
    return (
        f"Predicted, none measured: {len(units)} curves. The plan stores {shares[least]:.0%} of {least} and "
        f"{shares[most]:.0%} of {most}."
    )
