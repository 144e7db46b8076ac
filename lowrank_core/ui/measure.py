"""The Measure page: the table of both models, a sweep of methods and ratios, and what can be taken away."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ..calibration.texts import SELF, TEXTS
from ..methods import METHODS
from ..study.recipe import PRESETS
from . import plot
from .choices import HELD_OUT
from .host import Host, login_offered

RATIOS = tuple(i / 10 for i in range(1, 8))
STORAGES = (
    ("As in the recipe: loads after import lowrank_core", "factored"),
    ("Merged: dense again, for any engine, no bytes saved", "merged"),
)


@dataclass(frozen=True)
class Measure:
    """The page's components."""

    texts: gr.Dropdown
    measure: gr.Button
    stop: gr.Button
    status: gr.Markdown
    table: gr.HTML
    table_csv: gr.Button
    methods: gr.Dropdown
    ratios: gr.Dropdown
    sweep_text: gr.Dropdown
    sweep: gr.Button
    sweep_stop: gr.Button
    sweep_status: gr.Markdown
    sweep_result: gr.Column
    sweep_plot: gr.Plot
    sweep_caption: gr.Markdown
    sweep_table: gr.HTML
    sweep_csv: gr.Button
    storage: gr.Radio
    folder: gr.Button
    file: gr.File
    export_status: gr.Markdown
    code: gr.Code
    repository: gr.Textbox
    token: gr.Textbox
    public: gr.Checkbox
    push: gr.Button
    recipe: gr.Button
    report: gr.Button
    held: gr.State  # the last Comparison, and the rows of the sweep


def layout(code: str, host: Host) -> Measure:
    """The page, nothing measured yet; `code` loads the folder that would be exported."""
    texts = [(t.label, k) for k, t in TEXTS.items() if k != SELF]
    gr.Markdown("## Dense against compressed\nSqueeze's plan, measured in one run: both models take turns.")
    chosen = gr.Dropdown(texts, value=[HELD_OUT], multiselect=True, label="Perplexity on", elem_id="measure-texts")
    with gr.Row(elem_classes="actions"):
        measure = gr.Button("Measure", variant="primary", elem_id="measure")
        stop = gr.Button("Stop", elem_id="measure-stop")
    status = gr.Markdown("Nothing measured yet.", elem_id="measure-status")
    table = gr.HTML("", elem_id="comparison")
    table_csv = gr.Button("Table as CSV", size="sm", visible=False, elem_id="comparison-csv", elem_classes="small")

    gr.Markdown("## Methods and ratios\nWith Squeeze's text, allocator, storage and seed.")
    with gr.Row(equal_height=True):
        methods = gr.Dropdown(
            [(m.label, k) for k, m in METHODS.items()] + [(f"Recipe: {k}", k) for k in PRESETS],
            value=["svd", "asvd-i"],
            multiselect=True,
            label="Methods",
            elem_id="sweep-methods",
            scale=2,
            min_width=240,
        )
        ratios = gr.Dropdown(
            [(f"{100 * r:.0f} %", r) for r in RATIOS],
            value=[0.1, 0.2, 0.3],
            multiselect=True,
            label="Ratios",
            elem_id="sweep-ratios",
            scale=2,
            min_width=240,
        )
        sweep_text = gr.Dropdown(texts, value=HELD_OUT, label="Measured on", scale=1, min_width=200)
    with gr.Row(elem_classes="actions"):
        sweep = gr.Button("Sweep", variant="primary", elem_id="sweep")
        sweep_stop = gr.Button("Stop", elem_id="sweep-stop")
    sweep_status = gr.Markdown("", elem_id="sweep-status")
    with gr.Column(visible=False) as sweep_result:
        sweep_plot = gr.Plot(show_label=False, elem_id="plot-sweep")
        sweep_caption = plot.under("plot-sweep", "Sweep")
        sweep_table = gr.HTML("", elem_id="sweep-table")
        sweep_csv = gr.Button("All rows as CSV", size="sm", elem_id="sweep-csv", elem_classes="small")

    gr.Markdown("## Take it away")
    with gr.Row():
        with gr.Column(min_width=300):
            storage = gr.Radio(list(STORAGES), value="factored", label="Storage", elem_id="export-storage")
            with gr.Row(elem_classes="actions"):
                folder = gr.Button("Model folder (zip)", elem_id="export-folder", min_width=120)
                recipe = gr.Button("Recipe (YAML)", elem_id="export-recipe", min_width=120)
                report = gr.Button("Report (HTML)", elem_id="export-report", min_width=120)
            export_status = gr.Markdown("", elem_id="export-status")
            file = gr.File(label="Ready", visible=False, elem_id="export-file")
        with gr.Column(min_width=300):
            code = gr.Code(
                code,
                language="python",
                label="Load it",
                interactive=False,
                wrap_lines=True,
                elem_id="export-code",
                lines=5,
            )
            with gr.Accordion("To the Hub", open=False):
                repository = gr.Textbox(
                    label="New repository: owner/name", info="One that exists is never touched.", elem_id="hub-name"
                )
                if signing_in := login_offered():
                    gr.LoginButton(size="sm", elem_id="hub-login")
                nearby = "" if host.public else " Empty: HF_TOKEN, or that of `hf auth login`."
                token = gr.Textbox(
                    label="A token of yours that may write",
                    info="Used for this upload, not kept."
                    + (" Empty: that of your sign-in." if signing_in else nearby),
                    type="password",
                    elem_id="hub-token",
                )
                public = gr.Checkbox(False, label="Public (otherwise private)")
                push = gr.Button("Upload", elem_id="hub-push")
    return Measure(
        chosen, measure, stop, status, table, table_csv, methods, ratios, sweep_text, sweep, sweep_stop, sweep_status,
        sweep_result, sweep_plot, sweep_caption, sweep_table, sweep_csv, storage, folder, file, export_status, code,
        repository, token, public, push, recipe, report, gr.State({}),
    )  # fmt: skip
