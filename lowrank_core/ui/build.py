"""The whole page, and its start."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr  # noqa: E402

from ..errors import LowRankError  # noqa: E402
from ..settings import ASSETS  # noqa: E402
from ..study.recipe import Recipe, recipe_of  # noqa: E402
from . import api, chat, drawing, see, squeeze  # noqa: E402
from .house import House  # noqa: E402
from .words import error_line  # noqa: E402


def build(house: House | None = None) -> gr.Blocks:
    """The studio, its first screen filled from the bundled model's stored study."""
    house = house or House()
    recipe = Recipe()
    view = house.view(recipe)
    if not view.ready:
        raise LowRankError("The bundled study is missing.", "Run: python -m lowrank_core.demo.study")
    points = view.points
    plan = view.plan(points)
    visit = house.visit("first")
    status = drawing.recall(view, visit, plan) or "Drag the ratio: curves follow at once, measurements after."
    first = drawing.draw(view, visit, plan, points, None, status)

    with gr.Blocks(title="Lowrank Explorer", analytics_enabled=False, fill_width=True) as page:
        model = gr.State(recipe.model)
        strip = gr.HTML(drawing.header(view, plan, recipe, "idle", house.memory_line()), elem_id="strip")
        with gr.Accordion("Load model", open=False), gr.Row():
            name = gr.Textbox(
                recipe.model, label="`demo`, or a folder with a transformers model", elem_id="model-name", scale=4
            )
            load = gr.Button("Load", elem_id="model-load", scale=1)
        trouble = gr.Markdown("", elem_id="trouble")
        with gr.Tabs():
            with gr.Tab("See", id="see"):
                see_page = see.layout(view)
            with gr.Tab("Squeeze", id="squeeze"):
                squeeze_page = squeeze.layout(first, view)
            with gr.Tab("Chat", id="chat"):
                chat_page = chat.layout()
        see.connect(see_page, model, lambda n: house.view(recipe_of({"model": n})))
        squeeze.connect(squeeze_page, house, model, recipe_of, strip)
        chat.connect(chat_page, squeeze_page, house, model, recipe_of)
        api.connect(house)
        _connect_loader(house, load, name, model, trouble, strip, see_page, squeeze_page)

        def leave(request: gr.Request):
            house.leave(request.session_hash)

        page.unload(leave)
        def arrive():
            house.warm_up()

        page.load(arrive, None, None, queue=False, show_progress="hidden", api_visibility="private")
    return page


def _connect_loader(house, load, name, model, trouble, strip, see_page, squeeze_page) -> None:
    """Load model: calibrates what is new, then every page reads it; a failure leaves the earlier model in place."""
    outputs = [
        trouble,
        model,
        strip,
        *see_page.outputs,
        squeeze_page.site,
        squeeze_page.dense_roles,
        *squeeze_page.shown,
    ]

    def run(asked: str, request: gr.Request):
        quiet = [gr.skip()] * (len(outputs) - 1)
        session = request.session_hash
        turn = house.next_turn(session)
        try:
            recipe = recipe_of({"model": asked.strip()})
            yield ["Loading …", *quiet]
            bench = house.bench(recipe)
            from ..methods import METHODS

            for job in (bench.calibrate(), bench.spectra(recipe.method, METHODS[recipe.method].settle())):
                for step in house.steps(job, session, turn):
                    yield [f"{step.stage.capitalize()}: {step.done} of {step.total}", *quiet]
            view = house.view(recipe)
            if not view.ready:
                yield ["Stopped. The earlier model stays loaded.", *quiet]
                return
            visit = house.visit(session)
            visit.recipe, visit.plan, visit.measured = recipe, view.plan(view.points), []
            shown = drawing.draw(view, visit, visit.plan, view.points, None, "Drag the ratio.")
            yield [
                "",
                recipe.model,
                squeeze.strip_value(house, recipe, session, "idle"),
                *see.whole(view),
                gr.Dropdown(choices=see.handlers.site_choices(view), value=None),
                gr.CheckboxGroup(choices=sorted({s.role for s in view.body.sites}), value=[]),
                *squeeze.values(shown, ""),
            ]
        except LowRankError as error:
            yield [error_line(error.message, error.hint + " The earlier model stays loaded."), *quiet]

    load.click(run, name, outputs, show_progress="hidden", api_visibility="private", concurrency_limit=4)


def launch(host: str = "127.0.0.1", port: int | None = None, block: bool = True, house: House | None = None) -> str:
    """Serve the studio and return its address; torch is loaded behind the served page."""
    house = house or House()
    page = build(house)
    _, url, _ = page.queue(default_concurrency_limit=4).launch(
        server_name=host,
        server_port=port,
        theme=theme(),
        css_paths=[ASSETS / "style.css"],
        prevent_thread_lock=True,
        max_file_size="5mb",
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        footer_links=[],
        show_error=True,
    )
    if block:
        page.block_thread()
    return url


def theme() -> gr.Theme:
    """One accent, the system's own fonts: no request leaves for another host."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="gray",
        radius_size="sm",
        spacing_size="sm",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
