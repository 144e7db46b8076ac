"""The See page: where the outliers are, what the spectra look like, what a cut would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from . import plot
from . import see_handlers as handlers
from .view import View

VIEWS = ("Sorted", "By channel", "Tokens")


@dataclass(frozen=True)
class See:
    """The page's components that others write to."""

    sentence: gr.Markdown
    outliers: gr.Plot
    picked: gr.Textbox
    site: gr.Dropdown
    how: gr.Radio
    channels: gr.Plot
    channels_caption: gr.Markdown
    keep: gr.Slider
    spectrum: gr.Plot
    cut: gr.Plot
    spectrum_caption: gr.Markdown
    readout: gr.Markdown

    @property
    def outputs(self) -> list:
        return [
            self.sentence,
            self.outliers,
            self.site,
            self.channels,
            self.channels_caption,
            self.spectrum,
            self.cut,
            self.spectrum_caption,
            self.readout,
        ]


def whole(view: View, how: str = VIEWS[0], keep: float = 0.7) -> list:
    """Values of `See.outputs` for a study, with its loudest site selected."""
    path = handlers.loudest_site(view)
    return [
        handlers.sentence(view),
        handlers.outlier_map(view, path),
        gr.Dropdown(choices=handlers.site_choices(view), value=path),
        *handlers.channels(view, path, how),
        *handlers.spectrum(view, path, keep),
    ]


def layout(view: View) -> See:
    """The page, filled with the study's values."""
    path = handlers.loudest_site(view)
    profile, profile_caption = handlers.channels(view, path, VIEWS[0])
    spectrum, cut, caption, readout = handlers.spectrum(view, path, 0.7)
    sentence = gr.Markdown(handlers.sentence(view), elem_id="sentence")
    with gr.Row():
        with gr.Column():
            gr.Markdown("### A · Outlier map\nLoudest channel over the median channel, for everything a layer reads.")
            outliers = gr.Plot(handlers.outlier_map(view, path), show_label=False, elem_id="plot-a")
            picked = plot.pick("plot-a")
            plot.tools("plot-a", "Outlier map")
        with gr.Column():
            gr.Markdown("### B · Channels of the selected input")
            channels = gr.Plot(profile, show_label=False, elem_id="plot-b")
            channels_caption = gr.Markdown(profile_caption, elem_classes="caption")
            plot.tools("plot-b", "Channels")
    with gr.Row():
        site = gr.Dropdown(handlers.site_choices(view), value=path, label="Layer", elem_id="site")
        how = gr.Radio(VIEWS, value=VIEWS[0], label="Channels shown", elem_id="how")
    with gr.Row():
        with gr.Column():
            gr.Markdown("### C · Singular values of the selected layer")
            spectrum_plot = gr.Plot(spectrum, show_label=False, elem_id="plot-c")
            plot.tools("plot-c", "Singular values")
        with gr.Column():
            gr.Markdown("### D · What the cut does to the outputs")
            cut_plot = gr.Plot(cut, show_label=False, elem_id="plot-d")
            plot.tools("plot-d", "Error of the cut")
    spectrum_caption = gr.Markdown(caption, elem_classes="caption")
    keep = gr.Slider(0.05, 0.95, 0.7, step=0.01, label="Keep: share of this layer's parameters", elem_id="see-keep")
    readout_table = gr.Markdown(readout, elem_id="readout")
    return See(
        sentence,
        outliers,
        picked,
        site,
        how,
        channels,
        channels_caption,
        keep,
        spectrum_plot,
        cut_plot,
        spectrum_caption,
        readout_table,
    )


def connect(page: See, model: gr.State, read: Callable[[str], View]) -> None:
    """Selections and the keep slider redraw what depends on them; `read` gives the View of a model."""

    def select(name: str, path: str, how: str, keep: float):
        view = read(name)
        return (
            handlers.outlier_map(view, path),
            *handlers.channels(view, path, how),
            *handlers.spectrum(view, path, keep),
        )

    def show(name: str, path: str, how: str):
        return handlers.channels(read(name), path, how)

    def mark(name: str, path: str, keep: float):
        return handlers.spectrum(read(name), path, keep)

    def click(name: str, group: str, how: str, keep: float):
        view = read(name)
        path = handlers.first_site(view, group)
        return (path, *select(name, path, how, keep))

    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
    page.picked.submit(
        click,
        [model, page.picked, page.how, page.keep],
        [
            page.site,
            page.outliers,
            page.channels,
            page.channels_caption,
            page.spectrum,
            page.cut,
            page.spectrum_caption,
            page.readout,
        ],
        **quiet,
    )
    page.site.input(
        select,
        [model, page.site, page.how, page.keep],
        [
            page.outliers,
            page.channels,
            page.channels_caption,
            page.spectrum,
            page.cut,
            page.spectrum_caption,
            page.readout,
        ],
        **quiet,
    )
    page.how.change(show, [model, page.site, page.how], [page.channels, page.channels_caption], **quiet)
    page.keep.change(
        mark,
        [model, page.site, page.keep],
        [page.spectrum, page.cut, page.spectrum_caption, page.readout],
        trigger_mode="always_last",
        **quiet,
    )
