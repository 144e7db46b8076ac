"""What is taken away: the model's folder as a zip, the Hub, the report."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from .. import plots
from ..calibration.texts import TEXTS, read_text
from ..errors import LowRankError, NotPushed
from ..export.card import loading_code
from ..export.record import read_record, row
from ..jobs import Job, Progress
from ..models.where import hub_id
from ..report.page import Section, report
from ..settings import EVALUATION_WINDOWS
from ..study.recipe import Recipe
from ..study.spelling import to_command, to_python, to_yaml
from . import drawing, see_handlers, sides
from .choices import named
from .device import one_job
from .house import House
from .measure_handlers import drawn, lane_of, table
from .running import told
from .saved import made_by, saved_at, saved_in
from .sides import Ready, Side
from .view import View
from .visits import Visit
from .words import LABELS, count, size

Step = tuple[Any, str]


def folder_name(recipe: Recipe) -> str:
    """demo-asvd-i-30: what an exported folder is called; one that was saved before keeps its name."""
    if own := saved_at(recipe.model):
        return own.name.rpartition("/")[2]
    return f"{Path(recipe.model).name}-{recipe.method}-{round(100 * recipe.ratio)}"


def code(recipe: Recipe, storage: str) -> str:
    """The lines that load the exported folder from beside it."""
    return loading_code(folder_name(recipe), storage)


def folder(house: House, recipe: Recipe, session: str, storage: str) -> Generator[Step, None, None]:
    """The path of a zip with the model's folder, after statuses; the caller gives it away and forgets it."""
    with tempfile.TemporaryDirectory(prefix="lowrank-") as work:
        target = yield from _saved(house, recipe, session, storage, Path(work))
        if target is None:
            yield None, "Stopped. Nothing was written."
            return
        yield None, "Packing …"
        kept = Path(tempfile.mkdtemp(prefix="lowrank-"))
        packed = kept / f"{target.name}.zip"
        try:
            with zipfile.ZipFile(packed, "w") as archive:  # stored as they are: weights do not get smaller
                for file in sorted(f for f in target.rglob("*") if f.is_file()):
                    archive.write(file, file.relative_to(target.parent))
                    yield None, f"Packing: {file.name}"
        except BaseException:  # a visitor who left, too
            shutil.rmtree(kept, ignore_errors=True)
            raise
        line = f"{packed.name}: {size(packed.stat().st_size)}. Unpack it, then run the lines beside"
        if storage != "merged":
            line += " where `lowrank_core` is: in this studio's own folder, or with that on PYTHONPATH"
        yield str(packed), f"{line}."


def push(
    house: House, recipe: Recipe, session: str, storage: str, repository: str, token: str, public: bool
) -> Generator[Step, None, None]:
    """Upload the model to a new repository with the visitor's own token.

    On one's own machine that may be the one that the Hub's client finds there; on a public host it never is.
    """
    from huggingface_hub import get_token

    from ..export.hub import push as upload

    token = token.strip() or (None if house.host.public else get_token())
    if not token:
        raise NotPushed("There is no token for the Hub.", "Give one of yours that may write.")
    lane = export_lane(session)
    with tempfile.TemporaryDirectory(prefix="lowrank-") as work:
        target = yield from _saved(house, recipe, session, storage, Path(work))
        if target is None:
            yield None, "Stopped. Nothing was uploaded."
            return
        steps = upload.steps(target, repository.strip(), token, private=not public)
        with house.jobs.running(lane) as job:
            done = yield from job.following(told(house.waiting(steps, lane, house.visit(lane).turn)))
    kind = "public" if public else "private"
    yield None, f"Uploaded to {done.url} ({kind}, {size(done.bytes)})." if done else "Stopped."


def export_lane(session: str) -> str:
    return lane_of(session) + "/export"


@one_job(export_lane)
def _saved(house: House, recipe: Recipe, session: str, storage: str, work: Path) -> Generator[Step, None, Path | None]:
    """The folder of Squeeze's plan below `work`; None where it was stopped."""
    lane = export_lane(session)
    turn = house.next_turn(lane)
    yield None, "Loading the model …"
    side = Side("") if saved_at(recipe.model) else Side("", recipe)
    ready = yield from sides.ready(house, side, recipe, session, lane, turn)
    if ready is None:
        return None
    target = work / folder_name(recipe)
    steps = _save(ready, named(recipe), target, storage, measured(ready, recipe))
    return target if (yield from told(house.steps(steps, lane, turn))) else None


def measured(ready: Ready, recipe: Recipe) -> list[dict[str, Any]]:
    """Rows for the card: what is known of the plan and the dense model on texts with a name, or was saved before."""
    if saved_at(recipe.model):
        try:
            return list(read_record(ready.loaded.folder.path).measurements)
        except LowRankError:  # a folder without a record
            return []
    rows, study = [], ready.bench.study
    for name, source in TEXTS.items():
        if source.hub and not source.hub.cached(name).exists():  # to read it would be to fetch it
            continue
        try:
            text = read_text(name)
            dense = study.dense(text, EVALUATION_WINDOWS)
            now = study.evaluation(recipe, ready.plan, text, EVALUATION_WINDOWS)
        except LowRankError:  # one that cannot be read here
            continue
        if now:
            rows += [row(which, m) for which, m in (("dense", dense), ("compressed", now)) if m]
    return rows


def _save(ready: Ready, recipe: Recipe, target: Path, storage: str, rows: list[dict[str, Any]]) -> Job[int]:
    from ..export.save import save

    yield Progress("save", 0, 1, target.name)
    folder, model = ready.loaded.folder, ready.model
    if own := saved_in(folder):
        units = own.units(ready.bench.body.sites)
        ranks, made, base = own.plan(units).site_ranks(units), dict(own.said.get("recipe") or {}), own.base or ""
        stored = own.said.get("storage", "factored")
    else:
        ranks, made, stored = ready.plan.site_ranks(ready.units), recipe.model_dump(mode="json"), recipe.storage
        base = recipe.model if hub_id(recipe.model) else Path(recipe.model).name
    as_stored = storage if storage == "merged" else stored
    return save(model, ready.loaded.tokenizer, target, ranks, made, base, as_stored, rows, base_folder=folder.path)


def report_of(view: View, visit: Visit, held: dict) -> str:
    """The present study as one HTML file: what was looked at, planned and measured, with its recipe."""
    recipe, points, own = view.recipe, view.points, view.saved
    plan = visit.plan if visit.recipe == recipe and visit.plan else view.plan(points)
    shown = drawing.draw(view, visit, plan, points, None, drawing.recall(view, visit, plan))
    path, body = see_handlers.loudest_site(view), view.body
    spectrum, energy, cut, lost, _ = see_handlers.spectrum(view, path, 1 - recipe.ratio)
    site, known = body.site(path), named(made_by(recipe))
    sections = [
        Section(
            "What it is",
            f"{body.family}, {count(body.parameters)} parameters, {view.study.source.dtype} on "
            f"{view.study.source.device}. {shown.readout} {shown.status}".replace("**", "").replace("*", ""),
        ),
        Section("Outlier map", plots.outlier_sentence(view.summaries), figure=see_handlers.outlier_map(view, path)),
    ]
    figures = list(zip(
        ("What each layer loses", "The plan", "Trade-off"),
        (shown.sensitivity, shown.plan, shown.tradeoff),
        shown.captions,
        strict=True,
    ))  # fmt: skip
    cuts = [
        Section(f"Singular values, {site.label}", energy, figure=spectrum),
        Section(f"What the cut does to the outputs, {site.label}", lost, figure=cut),
    ]
    if own:  # nothing of the dense weights is in it
        cuts, figures = [], figures[1:2]
    sections += cuts
    sections += [Section(title, caption, figure=figure) for title, figure, caption in figures]
    if held.get("comparison") and held.get("recipe") == recipe:
        sections.append(Section("Dense against compressed", table=table(held["comparison"], recipe)))
    if held.get("sweep"):
        figure, caption, tables = drawn(held["sweep"])
        sections += [Section("Methods and ratios", caption, figure=figure), Section("Their rows", table=tables)]
    sections += [
        Section("The recipe", code=to_yaml(known)),
        Section("As a command", code=to_command(known)),
        Section("In Python", code=to_python(known)),
    ]
    title = own.label if own else f"{LABELS[recipe.method]} at ratio {recipe.ratio:g}"
    return report(f"{own.name if own else Path(recipe.model).name}: {title}", sections)
