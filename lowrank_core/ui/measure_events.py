"""What happens on the Measure page: measuring, sweeping, exporting."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from ..errors import LowRankError
from ..report.table import as_csv
from ..study.recipe import Recipe
from ..study.spelling import to_yaml
from . import export_handlers, handing
from . import measure_handlers as handlers
from .choices import named, recipe_values
from .head import Head, telling
from .house import House
from .measure import Measure
from .relay import explain, guarded
from .saved import made_by
from .saving import file, saves
from .squeeze import Squeeze

SKIP = gr.skip()
QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def connect(
    page: Measure, squeeze: Squeeze, house: House, model: gr.State, make_recipe: Callable[[dict], Recipe], head: Head
) -> None:
    """Every button of the page; the recipe is always Squeeze's present one."""
    chosen = [model, *squeeze.choices]

    def recipe_of(values) -> Recipe:
        name, *choices = values
        return make_recipe(recipe_values(name, *choices))

    def measure(request: gr.Request, texts, held, *values):
        def work():
            recipe = recipe_of(values)
            for found, status in handlers.compare(house, recipe, request.session_hash, texts or ()):
                shown = (found, recipe) if found else None
                yield shown, status

        for shown, status in guarded(work(), lambda line: (None, line)):
            if shown is None:
                yield [status, SKIP, SKIP, SKIP]
                continue
            found, recipe = shown
            held = {**held, "comparison": found, "recipe": recipe}
            yield [status, handlers.table(found, recipe), gr.Button(visible=True), held]

    def sweep(request: gr.Request, methods, ratios, text, held, *values):
        def work():
            grid = handlers.grid_of(recipe_of(values), methods or (), ratios or (), text)
            yield from handlers.sweep(house, grid, request.session_hash)

        for found, status in guarded(work(), lambda line: (None, line)):
            if found is None:
                yield [status, *[SKIP] * 5]
                continue
            figure, caption, tables = handlers.drawn(found)
            held = {**held, "sweep": found}
            yield [status, gr.Column(visible=True), figure, caption, tables, held]

    def stop(request: gr.Request):
        house.next_turn(handlers.lane_of(request.session_hash))
        house.next_turn(f"{handlers.lane_of(request.session_hash)}/export")

    def sweep_stop(request: gr.Request):
        house.next_turn(f"{handlers.lane_of(request.session_hash)}/sweep")

    def folder(request: gr.Request, storage, *values):
        def work():
            yield from export_handlers.folder(house, recipe_of(values), request.session_hash, storage)

        yield from handing.over(work())

    def push(request: gr.Request, login: gr.OAuthToken | None, storage, repository, token, public, *values):
        token = token.strip() or (login.token if login else "")

        def work():
            yield from export_handlers.push(
                house, recipe_of(values), request.session_hash, storage, repository, token, public
            )

        for _, status in guarded(work(), lambda line: (None, line)):
            yield [status]

    def report(request: gr.Request, held, *values):
        def work():
            recipe = recipe_of(values)
            view = house.view(recipe)
            if not view.ready:
                raise LowRankError("Nothing is known of this recipe yet.", "Let the slider of Squeeze rest first.")
            yield None, "Writing …"
            text = export_handlers.report_of(view, house.visit(request.session_hash), held)
            path = Path(tempfile.mkdtemp(prefix="lowrank-")) / f"{export_handlers.folder_name(recipe)}.html"
            path.write_text(text, "utf-8")
            yield str(path), "The report opens anywhere, without a network."

        yield from handing.over(work())

    def code(storage, *values):
        try:
            return export_handlers.code(recipe_of(values), storage)
        except LowRankError:
            return SKIP  # Squeeze says what is wrong

    def stale(held, *values):
        try:
            old = "recipe" in held and held["recipe"] != recipe_of(values)
        except LowRankError:
            return SKIP
        return "The table is of an earlier recipe: measure again." if old else SKIP

    def recipe_file(*values):
        try:
            recipe = recipe_of(values)
        except LowRankError as error:
            raise gr.Error(explain(error), print_exception=False) from None
        return file(f"{export_handlers.folder_name(recipe)}.yaml", to_yaml(named(made_by(recipe))), "text/yaml")

    def table_csv(held):
        return file("comparison.csv", as_csv(held["comparison"].lines, ("change", "worse")), "text/csv")

    def sweep_csv(held):
        return file("sweep.csv", as_csv(held["sweep"].rows), "text/csv")

    job = functools.partial(telling, house)
    page.measure.click(
        job(measure), [page.texts, page.held, *chosen], [page.status, page.table, page.table_csv, page.held, head.job],
        concurrency_limit=8, trigger_mode="once", **QUIET,
    )  # fmt: skip
    page.sweep.click(
        job(sweep), [page.methods, page.ratios, page.sweep_text, page.held, *chosen],
        [page.sweep_status, page.sweep_result, page.sweep_plot, page.sweep_caption, page.sweep_table, page.held,
         head.job],
        concurrency_limit=8, trigger_mode="once", **QUIET,
    )  # fmt: skip
    page.stop.click(stop, None, None, queue=False, **QUIET)
    page.sweep_stop.click(sweep_stop, None, None, queue=False, **QUIET)
    page.folder.click(
        job(folder), [page.storage, *chosen], [page.file, page.export_status, head.job], concurrency_limit=8, **QUIET
    )
    page.report.click(report, [page.held, *chosen], [page.file, page.export_status], concurrency_limit=8, **QUIET)
    page.push.click(
        job(push), [page.storage, page.repository, page.token, page.public, *chosen], [page.export_status, head.job],
        concurrency_limit=8, **QUIET,
    )  # fmt: skip
    page.storage.change(code, [page.storage, *chosen], page.code, **QUIET)
    squeeze.command.change(code, [page.storage, *chosen], page.code, **QUIET)
    squeeze.command.change(stale, [page.held, *chosen], page.status, **QUIET)
    saves(page.recipe, recipe_file, chosen)
    saves(page.table_csv, table_csv, [page.held])
    saves(page.sweep_csv, sweep_csv, [page.held])
