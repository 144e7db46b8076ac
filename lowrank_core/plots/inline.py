"""Figures as HTML that needs no network: plotly's script once, then a piece of HTML for each."""

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs


def script() -> str:
    """plotly's own script, for the head of a page that stands alone."""
    return f"<script>{get_plotlyjs()}</script>"


def piece(figure: go.Figure, name: str) -> str:
    """HTML of a figure, for a page that holds `script()`."""
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config={"displaylogo": False})
