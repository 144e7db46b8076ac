"""What happens on the Squeeze page: any change previews at once, and measures when it rests."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from ..allocation import ALLOCATORS
from ..errors import LowRankError
from ..methods import METHODS
from ..study.recipe import Recipe
from . import kv_squeeze, link
from . import squeeze_handlers as handlers
from .choices import BEST, recipe_values, spellings
from .drawing import header
from .head import Head, telling
from .house import House
from .relay import explain, guarded
from .saved import made_by
from .squeeze import Squeeze, measures, values

STOPPED = "Stopped. Everything measured so far is kept."


def connect(
    page: Squeeze,
    tab: gr.Tab,
    house: House,
    model: gr.State,
    make_recipe: Callable[[dict], Recipe],
    head: Head,
    linked: gr.State,
    link_read: Callable,
) -> None:
    """Any change previews at once; when nothing newer follows, measuring starts. A new change supersedes the old.

    `linked`: the values of the choices that a link asks for, where there is one; `link_read`: when that is known.
    """
    turn, seen = gr.State(0), gr.State(False)

    def preview(request: gr.Request, name, *choices):
        *choices, site = choices
        try:
            recipe = make_recipe(recipe_values(name, *choices))
        except LowRankError as error:
            house.next_turn(request.session_hash)
            house.visit(request.session_hash).said = explain(error)
            return [*values(None, explain(error)), -1, *[gr.skip()] * 8]
        shown, trouble, number = handlers.preview(house, recipe, request.session_hash, site)
        visit = house.visit(request.session_hash)
        if visit.turn != number:
            return [gr.skip()] * 17  # a newer change is being answered: an older answer must not come after it
        visit.said = trouble or shown.status
        return [
            *values(shown, trouble),
            number,
            *spellings(made_by(recipe), link.address(request)),
            gr.Dropdown(info=METHODS[recipe.method].line),
            gr.Dropdown(info=ALLOCATORS[recipe.allocator].line),
            gr.Dropdown(info=measures(recipe.measuring)),
            strip_value(house, recipe, request.session_hash),
        ]

    def opened(request: gr.Request, drawn: bool, name, *choices):
        """The plots, when the page is first opened; a job that runs meanwhile goes on."""
        *choices, site = choices
        try:
            recipe = make_recipe(recipe_values(name, *choices))
            shown = None if drawn else handlers.standing_plan(house, recipe, request.session_hash, site)
        except LowRankError:  # the preview says so
            shown = None
        return [*values(shown, "")[:6], drawn or shown is not None]

    def settle(request: gr.Request, name, *choices):
        *choices, site, number = choices
        # gradio empties the outputs of a generator that ends without a yield: so nothing is changed first
        yield [gr.skip()] * 9
        if number < 0:
            return  # a bad recipe: said by the preview
        session = request.session_hash
        recipe = make_recipe(recipe_values(name, *choices))
        states = handlers.settle(house, recipe, session, number, site)
        visit = house.visit(session)
        for shown, status in guarded(states, lambda line: (None, line)):
            if visit.turn == number:
                visit.said = status or shown.status
            yield [*values(shown, status), strip_value(house, recipe, session)]
        # what was said above may reach the page after the answer to a newer drag: so that one has the last word
        said = STOPPED if visit.stopped else visit.said
        yield [*[gr.skip()] * 7, said, strip_value(house, recipe, session)]

    def stop(request: gr.Request):
        house.next_turn(request.session_hash)
        house.visit(request.session_hash).stopped = True
        return STOPPED

    def restore(request: gr.Request, name: str):
        recipe = house.visit(request.session_hash).tried.get(name)
        return link.shown(recipe) if recipe else [gr.skip()] * len(page.choices)

    inputs = [model, *page.choices, page.site]
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    previewed = [*page.shown, turn, *page.spelled, page.method, page.allocator, page.measure, head.strip]
    # by hand: a link sets several controls at once, and each one's change would be answered with the others half set
    by_hand = [page.ratio, page.kv_ratio, page.dense_roles, page.dense_blocks, page.method, page.allocator, page.text]
    by_hand += [page.seed, page.site, page.storage, page.walk, page.measure]
    changes = [c.input for c in by_hand]
    changes += [page.upload.upload, page.upload.clear, page.resume.click, page.target.submit, page.target.blur]
    fixing = [page.rest, page.site, page.rank]
    chains = [
        button.click(act, fixing, page.rest, **quiet).then for button, act in ((page.fix, fixed), (page.free, freed))
    ]
    for picked in page.picked[:2]:  # a layer's line or its place in the plan
        chains.append(picked.submit(highlighted, [picked, page.site], page.site, **quiet).then)
    chains.append(page.picked[2].submit(restore, page.picked[2], page.choices, **quiet).then)
    chosen = [page.method, page.allocator, page.storage, page.walk]
    best = [BEST["method"], BEST["allocator"], BEST["storage"], True]
    chains.append(page.best.click(lambda: best, None, chosen, **quiet).then)
    answer = {"trigger_mode": "always_last", "queue": False, **quiet}
    measured = {"trigger_mode": "multiple", "concurrency_limit": 8, **quiet}
    answered = [gr.on(changes, preview, inputs, previewed, **answer)]
    answered += [then(preview, inputs, previewed, **answer) for then in chains]
    for previewing in answered:
        previewing.then(telling(house, settle), [*inputs, turn], [*page.shown, head.strip, head.job], **measured)

    def preview_link(request: gr.Request, name, values, site):
        if values is None:  # a plain visit starts nothing
            return [gr.skip()] * len(previewed)
        return preview(request, name, *values, site)

    def settle_link(request: gr.Request, name, values, site, number):
        yield [gr.skip()] * 9
        if values is not None:
            yield from settle(request, name, *values, site, number)

    given = [model, linked, page.site]
    link_read(preview_link, given, previewed, **answer).then(
        telling(house, settle_link), [*given, turn], [*page.shown, head.strip, head.job], **measured
    )
    tab.select(opened, [seen, *inputs], [*page.shown[:6], seen], trigger_mode="once", **quiet)
    page.stop.click(stop, None, page.status, queue=False, **quiet)

    def latents(name, *choices):
        try:
            return kv_squeeze.values(house.view(make_recipe(recipe_values(name, *choices))))
        except LowRankError:  # the preview says so
            return [gr.skip()] * 3

    # the recipe as text changes with everything that decides it, the readout with what settling finds out
    moved = [page.kv_ratio.change, page.command.change, page.readout.change]
    gr.on(moved, latents, [model, *page.choices], page.kv.shown, trigger_mode="always_last", **quiet)


def highlighted(path: str, now: str | None) -> str:
    """The layer that a click on one highlights; none where it was that one before."""
    return "" if path == now else path


def fixed(rest: dict, site: str | None, rank: str) -> dict:
    """The recipe's other fields with the highlighted layer kept at a rank, or dense; what is no rank is said later."""
    word = rank.strip().lower()
    if not site or not word:
        return rest
    kept = None if word == "dense" else int(word) if word.isdigit() else word
    return {**rest, "overrides": {**rest.get("overrides", {}), site: kept}}


def freed(rest: dict, site: str | None, rank: str) -> dict:
    """The recipe's other fields with the highlighted layer's rank left to the allocator."""
    return {**rest, "overrides": {p: r for p, r in rest.get("overrides", {}).items() if p != site}}


def strip_value(house: House, recipe: Recipe, session: str) -> str:
    """The header strip for a session."""
    visit = house.visit(session)
    try:
        view = house.view(recipe)
    except LowRankError:  # a text that cannot be fetched: the status line says so
        return gr.skip()
    if visit.recipe is None or visit.recipe.model != recipe.model:
        return header(view, None, recipe, house.memory_line())
    return header(view, visit.plan, visit.recipe, house.memory_line())
