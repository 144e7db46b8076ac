"""A link with a recipe, opened: its values on the page's controls; and the page's own address, for making one."""

from __future__ import annotations

import gradio as gr

from ..calibration.texts import TEXTS, UPLOADED
from ..errors import LowRankError
from ..study.recipe import Recipe
from ..study.spelling import from_query, needed_text, to_link
from .choices import CHOICES, choices_of
from .house import House
from .relay import explain
from .squeeze import DEFAULTS, Squeeze


def connect(page: gr.Blocks, house: House, squeeze: Squeeze, name: gr.Dropdown, trouble: gr.Markdown):
    """Open the link that the page was loaded with; the values of `choices` that it asks for, and when they are known.

    Whoever follows it takes them from here: a control that was not drawn yet, its tab being closed, still gives what it
    had before the link.
    """
    linked = gr.State(None)  # stays so on a plain visit
    outputs = [trouble, name, linked, *squeeze.choices, squeeze.link]

    def follow(request: gr.Request):
        try:
            recipe = from_query(dict(request.query_params))
            if recipe is None:
                return [*[gr.skip()] * (len(outputs) - 1), to_link(DEFAULTS, address(request))]
            house.host.check(recipe)
        except LowRankError as error:
            return [f"{explain(error)} The link is not followed.", *[gr.skip()] * (len(outputs) - 1)]
        return [said(recipe), recipe.model, wanted(recipe), *shown(recipe), to_link(recipe, address(request))]

    read = page.load(follow, None, outputs, queue=False, show_progress="hidden", api_visibility="private")
    return linked, read.then


def said(recipe: Recipe) -> str:
    """What is left to do before a link's recipe can be followed."""
    lines = []
    if recipe.model != Recipe().model:
        lines.append(f"This link is about the model {recipe.model!r}: open Load model and press Load.")
    if digest := needed_text(recipe):
        lines.append(
            f"It was made with a calibration text of its own (hash {digest}): upload that file under "
            "Squeeze, Calibration text and more."
        )
    return " ".join(lines)


def wanted(recipe: Recipe) -> list:
    """A recipe as the values of the Squeeze page's choices."""
    values = dict(zip(CHOICES, choices_of(recipe), strict=True))
    roles = sorted({*recipe.dense_roles})
    if roles and recipe.model != Recipe().model:  # the menu has the present model's roles
        values["rest"] = {**values["rest"], "dense_roles": roles}
        values["dense_roles"] = []
    return list(values.values())


def shown(recipe: Recipe) -> list:
    """What puts a recipe on the page's controls; a text that is not here becomes an entry of the menu."""
    values = dict(zip(CHOICES, wanted(recipe), strict=True))
    named = [(t.label, k) for k, t in TEXTS.items()]
    if recipe.text not in TEXTS:
        label = "The link's own text, to be uploaded" if recipe.text.startswith(UPLOADED) else recipe.text
        named.append((label, recipe.text))
    values["text"] = gr.Dropdown(choices=named, value=recipe.text)
    return list(values.values())


def address(request: gr.Request) -> str:
    """Where the visitor's browser has this page, for links that lead back to it."""
    return (request.headers.get("referer") or str(request.request.base_url)).split("?")[0]
