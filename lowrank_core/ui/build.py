"""The whole page, and its start."""

from __future__ import annotations

import os
import platform

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if platform.machine().lower() in ("x86_64", "amd64"):  # elsewhere torch reads this too
    # numpy's idle threads spin: small matrices took 18 × longer as soon as anything else ran (measured on two cores)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from .starting import without_collecting, without_stubs  # noqa: E402

with without_collecting(), without_stubs():
    import gradio as gr
    from starlette.middleware import Middleware

    from ..errors import LowRankError
    from ..settings import ASSETS
    from . import (
        api,
        chat,
        chat_events,
        drawing,
        export_handlers,
        head,
        learn,
        link,
        loader,
        measure,
        measure_events,
        plot,
        see,
        sides,
        squeeze,
        squeeze_events,
        zero,
    )
    from .front import TITLE, Front
    from .host import UPLOAD_BYTES, Host, host_here, listen_at
    from .house import House
    from .visits import FIRST

FILES_KEPT = 3600  # seconds that an uploaded or exported file lies in the page's cache


def build(house: House | None = None) -> gr.Blocks:
    """The studio, its first screen filled from the bundled model's stored study."""
    house = house or House()
    recipe = squeeze.DEFAULTS
    view = house.view(recipe)
    if not view.ready:
        raise LowRankError("The bundled study is missing.", "Run: python -m lowrank_core.demo.study")
    plan = view.plan()
    visit = house.visit(FIRST)
    status = drawing.recall(view, visit, plan) or "Drag the ratio: curves follow at once, measurements after."

    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, FILES_KEPT)) as page:
        model = gr.State(recipe.model)
        top = head.layout(drawing.header(view, plan, recipe, house.memory_line()))
        loading = loader.layout(house, recipe.model, recipe.text)
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("See", id="see"):
                see_page = see.layout(view)
            with gr.Tab("Learn", id="learn") as learn_tab:
                learn_page = learn.layout()
            with gr.Tab("Squeeze", id="squeeze") as squeeze_tab:
                squeeze_page = squeeze.layout(drawing.readout(view, plan), status, view)
            with gr.Tab("Chat", id="chat"):
                chat_page = chat.layout(sides.choices(visit, recipe.model, house.host))
            with gr.Tab("Measure", id="measure"):
                measure_page = measure.layout(export_handlers.code(recipe, "factored"), house.host)
        head.connect(top, house, squeeze_page.recipe)
        see.connect(see_page, model, house, top)
        linked, link_read = link.connect(page, house, squeeze_page, loading.name, loading.trouble)
        squeeze_events.connect(squeeze_page, squeeze_tab, house, model, house.recipe, top, linked, link_read)
        learn.connect(learn_page, learn_tab, model, house.dense_view)
        chat_events.connect(chat_page, squeeze_page, house, model, house.recipe, top)
        measure_events.connect(measure_page, squeeze_page, house, model, house.recipe, top)
        api.connect(house)
        loader.connect(loading, house, model, top, see_page, squeeze_page)

        def leave(request: gr.Request):
            house.leave(request.session_hash)

        page.unload(leave)

        def arrive():
            house.warm_up()

        page.load(arrive, None, None, queue=False, show_progress="hidden", api_visibility="private")
    return page


def launch(
    address: str | None = None,
    port: int | None = None,
    block: bool = True,
    house: House | None = None,
    host: Host | None = None,
) -> str:
    """Serve the studio and return its address; torch is loaded behind the served page.

    `host`: what visitors may ask for; by default everything on one's own machine, less on Spaces.
    """
    with without_collecting():
        house = house or House(host=host or host_here())
        if zero.available():
            house.zero = zero.on_gpu()
            zero.serve(house)
        page = build(house)
        _, url, _ = page.queue(default_concurrency_limit=4, max_size=house.host.waiting).launch(
            server_name=address or listen_at(),
            server_port=port,
            theme=theme(),
            css_paths=[ASSETS / "style.css"],
            head=plot.head(),
            favicon_path=ASSETS / "favicon.svg",
            prevent_thread_lock=True,
            max_file_size=UPLOAD_BYTES,
            enable_monitoring=False,
            run_history=False,
            ssr_mode=False,
            footer_links=[],
            show_error=True,
            app_kwargs={"middleware": [Middleware(Front)]},
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
    ).set(  # contrast of at least 4.5 : 1 everywhere, on either ground
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        checkbox_border_color="*neutral_500",  # a control's edge: at least 3 : 1
        checkbox_border_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
