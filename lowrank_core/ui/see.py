"""The See page: where the outliers are, what the spectra look like, what a cut would do."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from . import plot
from . import see_handlers as handlers
from .head import Head, telling
from .house import House
from .relay import guarded
from .view import View

VIEWS = ("Sorted", "By channel", "Tokens")
KEEP = 0.7  # where the slider begins
MOVE = "(marks) => marks && window.moveMark(JSON.parse(marks))"


@dataclass(frozen=True)
class See:
    """The page's components that others write to."""

    sentence: gr.Markdown
    outliers: gr.Plot
    map_caption: gr.Markdown
    picked: gr.Textbox
    site: gr.Dropdown
    how: gr.Radio
    scaled: gr.Checkbox
    channels: gr.Plot
    channels_caption: gr.Markdown
    keep: gr.Slider
    spectrum: gr.Plot
    spectrum_caption: gr.Markdown
    cut: gr.Plot
    cut_caption: gr.Markdown
    readout: gr.Markdown
    held_out: gr.Button
    held_out_status: gr.Markdown
    marks: gr.Textbox

    @property
    def below(self) -> list:
        """What shows the selected layer, in the order of `handlers.channels` and `handlers.spectrum`."""
        return [
            self.channels, self.channels_caption,
            self.spectrum, self.spectrum_caption, self.cut, self.cut_caption, self.readout,
        ]  # fmt: skip

    @property
    def outputs(self) -> list:
        return [self.sentence, self.outliers, self.map_caption, self.site, *self.below]


def whole(view: View, how: str = VIEWS[0], keep: float = KEEP) -> list:
    """Values of `See.outputs` for a study, with its loudest site selected."""
    path = handlers.loudest_site(view)
    return [
        handlers.sentence(view),
        handlers.outlier_map(view, path),
        handlers.map_caption(view),
        gr.Dropdown(choices=handlers.site_choices(view), value=path),
        *handlers.channels(view, path, how),
        *handlers.spectrum(view, path, keep),
    ]


def layout(view: View) -> See:
    """The page, filled with the study's values."""
    path = handlers.loudest_site(view)
    profile, profile_caption = handlers.channels(view, path, VIEWS[0])
    first, energy, second, lost, table = handlers.spectrum(view, path, KEEP)
    sentence = gr.Markdown(handlers.sentence(view), elem_id="sentence")

    with gr.Row():
        with gr.Column(min_width=340):
            outliers, map_caption = plot.drawn(
                "A", "Outlier map: loudest channel over the median", handlers.outlier_map(view, path),
                handlers.map_caption(view), level=3,
            )  # fmt: skip
            picked = plot.pick("plot-a")
            site = gr.Dropdown(handlers.site_choices(view), value=path, label="Layer", elem_id="site")
        with gr.Column(min_width=340):
            channels, channels_caption = plot.drawn(
                "B", "Channels of the selected input", profile, profile_caption, level=3
            )
            with gr.Row():
                how = gr.Radio(VIEWS, value=VIEWS[0], label="Channels shown", elem_id="how", scale=2)
                scaled = gr.Checkbox(False, label="After ASVD's scaling, too", elem_id="scaled", scale=1, min_width=200)
    with gr.Row():
        with gr.Column(min_width=340):
            spectrum, spectrum_caption = plot.drawn(
                "C", "Singular values of the selected layer", first, energy, level=3
            )
            keep = gr.Slider(
                0.05, 0.95, KEEP, step=0.01, label="Keep: share of this layer's parameters", elem_id="see-keep"
            )
        with gr.Column(min_width=340):
            cut, cut_caption = plot.drawn("D", "What the cut does to the outputs", second, lost, level=3)
            held_out = gr.Button("Measure on held-out text", size="sm", elem_id="held-out", elem_classes="small")
            held_out_status = gr.Markdown("", elem_id="held-out-status")
    readout = gr.Markdown(table, elem_id="readout")
    marks = gr.Textbox(visible="hidden", elem_id="marks", container=False, show_label=False)
    return See(
        sentence, outliers, map_caption, picked, site, how, scaled, channels, channels_caption, keep, spectrum,
        spectrum_caption, cut, cut_caption, readout, held_out, held_out_status, marks,
    )  # fmt: skip


def connect(page: See, model: gr.State, house: House, head: Head) -> None:
    """Selections and the keep slider redraw what depends on them."""

    def planned(view: View, path: str, session: str) -> int | None:
        visit = house.visit(session)
        ours = visit.recipe is not None and visit.recipe.model == view.recipe.model
        return handlers.planned_rank(view, visit.plan if ours else None, path)

    def select(request: gr.Request, name: str, path: str, how: str, scaled: bool, keep: float):
        view = house.seen(name, request.session_hash)
        return (
            handlers.outlier_map(view, path),
            *handlers.channels(view, path, how, scaled),
            *handlers.spectrum(view, path, keep, planned(view, path, request.session_hash)),
        )

    def click(request: gr.Request, name: str, group: str, *rest):
        path = handlers.first_site(house.seen(name, request.session_hash), group)
        return (path, *select(request, name, path, *rest))

    def show(request: gr.Request, name: str, path: str, how: str, scaled: bool):
        return handlers.channels(house.seen(name, request.session_hash), path, how, scaled)

    def move(request: gr.Request, name: str, path: str, keep: float):
        return handlers.at(house.seen(name, request.session_hash), path, keep)

    def held_out(request: gr.Request, name: str, path: str, keep: float):
        def work():
            session = request.session_hash
            view = house.seen(name, session)
            for done, status in handlers.measure_held_out(house, view, path, session):
                shown = handlers.spectrum(view, path, keep, planned(view, path, session)) if done else [gr.skip()] * 5
                yield [*shown, status]

        yield from guarded(work(), lambda line: [*[gr.skip()] * 5, line])

    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
    chosen = [page.how, page.scaled, page.keep]
    page.picked.submit(click, [model, page.picked, *chosen], [page.site, page.outliers, *page.below], **quiet)
    page.site.input(select, [model, page.site, *chosen], [page.outliers, *page.below], **quiet)
    for control in (page.how, page.scaled):
        control.change(show, [model, page.site, page.how, page.scaled], [page.channels, page.channels_caption], **quiet)
    page.keep.change(
        move,
        [model, page.site, page.keep],
        [page.marks, page.cut_caption, page.readout],
        trigger_mode="always_last",
        **quiet,
    ).then(None, page.marks, None, js=MOVE, **quiet)
    page.held_out.click(
        telling(house, held_out),
        [model, page.site, page.keep],
        [*page.below[2:], page.held_out_status, head.job],
        trigger_mode="once",
        **quiet,
    )
