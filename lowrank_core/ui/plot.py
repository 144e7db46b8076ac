"""A plot on a page: what `assets/plots.js` adds to gradio's, which has neither a click nor a file to keep."""

from __future__ import annotations

import gradio as gr

from ..settings import ASSETS

SCRIPTS = ("plots.js", "strip.js", "access.js")


def head() -> str:
    """The page's own scripts: clicks in plots, SVG and CSV, the token strip, what screen readers and keys need."""
    return "".join(f"<script>{(ASSETS / name).read_text('utf-8')}</script>" for name in SCRIPTS)


def pick(name: str) -> gr.Textbox:
    """The hidden box whose `submit` event is a click in the plot `name` (its `elem_id`, which begins with "plot-").

    Its value is the first text in the customdata of the point: a click on one that has none is no event.
    """
    return gr.Textbox(visible="hidden", elem_id=f"{name}-pick", container=False, show_label=False)


def drawn(letter: str, title: str, figure=None, caption: str = "", level: int = 2) -> tuple[gr.Plot, gr.Markdown]:
    """A plot, `plot-<letter>`, between its heading of a level and what it shows in words."""
    name = f"plot-{letter.lower()}"
    gr.Markdown(f"{'#' * level} {letter} · {title}")
    return gr.Plot(figure, show_label=False, elem_id=name), under(name, title, caption)


def under(name: str, what: str, caption: str = "", elem_id: str | None = None) -> gr.Markdown:
    """What the plot `name` shows in words, and on the same line the buttons that keep it."""
    with gr.Row(elem_classes="under"):
        said = gr.Markdown(caption, elem_classes="caption", elem_id=elem_id)
        tools(name, what)
    return said


def tools(name: str, what: str) -> gr.HTML:
    """Buttons under the plot `name` that save it as SVG and its values as CSV; `what` it shows, for a screen reader.

    The columns of the customdata get their names from the trace's `meta`, a list.
    """
    buttons = "".join(
        f'<button type="button" class="tool" data-plot="{name}" data-as="{kind}" aria-label="{what} as {kind.upper()}">'
        f"{kind.upper()}</button>"
        for kind in ("svg", "csv")
    )
    return gr.HTML(f'<div class="tools">{buttons}</div>', padding=False)
