"""Load model: what fits, what it takes, the text to calibrate on, progress in bytes and Stop."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from . import drawing, see, squeeze, squeeze_events
from . import loader_handlers as handlers
from .choices import CHOICES, recipe_values, spellings
from .head import Head, telling
from .house import House
from .link import address
from .relay import guarded
from .residents import Way
from .saved import made_by


@dataclass(frozen=True)
class Loader:
    """The components above the tabs."""

    name: gr.Dropdown
    text: gr.Dropdown
    device: gr.Dropdown
    dtype: gr.Dropdown
    token: gr.Textbox
    load: gr.Button
    stop: gr.Button
    estimate: gr.Markdown
    trouble: gr.Markdown


def layout(house: House, model: str, text: str) -> Loader:
    """The accordion and, below it, the line that says how loading goes."""
    what = "a hub id: owner/name" if house.host.public else "a folder, or a hub id: owner/name"
    with gr.Accordion("Load model", open=False, elem_id="loader"):
        with gr.Row():
            name = gr.Dropdown(
                handlers.choices(house.host),
                value=model,
                label=f"Model: demo, {what}",
                info="Search what fits this machine, or write a name.",
                allow_custom_value=True,
                filterable=True,
                elem_id="model-name",
                scale=3,
                min_width=260,
            )
            chosen = gr.Dropdown(
                handlers.text_choices(),
                value=text,
                label="Calibration text",
                info="What the model's statistics are taken on.",
                elem_id="model-text",
                scale=2,
                min_width=220,
            )
        estimate = gr.Markdown(handlers.estimate(house.host, model, text), elem_id="model-estimate")
        with gr.Row(visible=not house.host.public):  # a public host chooses, and its visitors log in
            devices, dtypes = handlers.ways()
            device = gr.Dropdown(devices, value="", label="Device", elem_id="model-device", min_width=120)
            dtype = gr.Dropdown(dtypes, value="", label="Precision", elem_id="model-dtype", min_width=120)
            token = gr.Textbox(
                label="Hub token, for gated models",
                type="password",
                max_lines=1,
                elem_id="model-token",
                scale=2,
                min_width=200,
            )
        with gr.Row():
            load = gr.Button("Load", variant="primary", elem_id="model-load", scale=2, min_width=120)
            stop = gr.Button("Stop", elem_id="model-stop", scale=1, min_width=90)
    return Loader(name, chosen, device, dtype, token, load, stop, estimate, gr.Markdown("", elem_id="trouble"))


def connect(page: Loader, house: House, model: gr.State, head: Head, see_page: see.See, squeeze_page) -> None:
    """Load calibrates what is new, then every page reads it; a failure or a stop leaves the earlier model in place."""
    outputs = [
        page.trouble, model, head.strip, *see_page.outputs, squeeze_page.site, squeeze_page.dense_roles,
        squeeze_page.dense_blocks, squeeze_page.text, *squeeze_page.shown, *squeeze_page.spelled,
    ]  # fmt: skip
    others = [gr.skip()] * (len(outputs) - 1)

    def run(asked: str, text: str, way: Way, token: str, how: str, keep: float, *choices, request: gr.Request):
        session = request.session_hash
        values = recipe_values((asked or "").strip(), *choices)
        values |= {"dense_roles": (), "dense_blocks": (), "overrides": {}}
        if not squeeze_upload(choices):
            values["text"] = text
        recipe, view = house.recipe(values), None
        for line, view in handlers.load(house, recipe, token or None, session, way):
            if view is None:
                yield [line, *others]
        if view is None:
            return
        visit = house.visit(session)
        visit.measured = []
        plan = visit.settle_on(recipe, view.plan(view.points))
        status = drawing.recall(view, visit, plan) or "Drag the ratio: curves follow at once, measurements after."
        if view.saved:
            status = view.saved.sentence(house.host, view.units, view.removed(plan))
        shown = drawing.draw(view, visit, plan, view.points, None, status)
        yield [
            "", recipe.model, squeeze_events.strip_value(house, recipe, session), *see.whole(view, how, keep),
            gr.Dropdown(choices=[squeeze.NO_SITE, *see.handlers.site_choices(view)], value=""),
            gr.CheckboxGroup(choices=sorted({s.role for s in view.body.sites}), value=[]),
            gr.CheckboxGroup(choices=sorted({s.block for s in view.body.sites}), value=[]), text,
            *squeeze.values(shown, ""), *spellings(made_by(recipe), address(request)),
        ]  # fmt: skip

    def loading(request: gr.Request, asked, text, device, dtype, token, how, keep, *choices):
        yield from guarded(
            run(asked, text, way_of(device, dtype), token, how, keep, *choices, request=request),
            lambda line: [f"{line} {handlers.KEPT}", *others],
        )

    def stop(request: gr.Request):
        house.next_turn(request.session_hash)
        return handlers.STOPPED

    def estimate(asked, text, device, dtype, upload):
        return handlers.estimate(house.host, asked or "", text, upload, way_of(device, dtype))

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    inputs = [page.name, page.text, page.device, page.dtype, page.token, see_page.how, see_page.keep]
    page.load.click(
        telling(house, loading), [*inputs, *squeeze_page.choices], [*outputs, head.job], concurrency_limit=4, **quiet
    )
    page.stop.click(stop, None, page.trouble, queue=False, **quiet)
    about = [page.name, page.text, page.device, page.dtype, squeeze_page.upload]
    for component in about:
        component.change(estimate, about, page.estimate, trigger_mode="always_last", concurrency_limit=4, **quiet)


def way_of(device: str | None, dtype: str | None) -> Way:
    """What the two menus say; automatic is empty."""
    return Way(device or None, dtype or None)


def squeeze_upload(choices: tuple) -> str | None:
    """The uploaded text among the Squeeze page's choices."""
    return dict(zip(CHOICES, choices, strict=False)).get("upload")
