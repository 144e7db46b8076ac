"""What the See page shows for a selection: every function reads the store and returns values for components."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Generator

import numpy as np

from .. import plots
from ..allocation import break_even
from ..calibration.texts import read_text
from ..methods import METHODS
from ..plots.spectrum import RANK
from ..settings import EVALUATION_WINDOWS
from ..study.recipe import Recipe
from ..types import Plan, Site, Unit, rank_at
from .choices import HELD_OUT
from .device import one_job
from .house import House
from .running import told
from .view import View
from .words import LABELS, count, percent

WHY = (  # what a first visit needs to know; Learn's second and third steps show it
    "A weight's error counts as much as its input is loud. A cut that does not know the inputs spends its rank in the "
    "wrong place: **Learn** shows how, **Squeeze** chooses the ranks, **Chat** shows what that costs."
)
KEPT_CURVES = 256


def site_choices(view: View) -> list[tuple[str, str]]:
    """(label, path) of every site."""
    return [(s.label, s.path) for s in view.body.sites] if view.body else []


def loudest_site(view: View) -> str:
    """The path of the first site that reads the input group with the largest outlier ratio."""
    return first_site(view, max(view.summaries, key=lambda s: s.outlier_ratio).group)


def first_site(view: View, group: str) -> str:
    """The path of the first site that reads an input group."""
    return next(s.path for s in view.body.sites if s.group == group)


def sentence(view: View) -> str:
    """The page's one sentence, computed from the data, and what of the model is left out."""
    note = "These are the inputs of the compressed layers as they are now." if view.saved else ""
    return f"## {plots.outlier_sentence(view.summaries)}\n\n{WHY} {note} {view.body.note}".rstrip()


def outlier_map(view: View, path: str):
    """Plot A with the selected site's input group outlined."""
    return plots.outlier_map(view.summaries, view.body.site(path).group)


def map_caption(view: View) -> str:
    """What plot A shows, in words."""
    return f"{plots.map_caption(view.summaries)} {how_measured(view)}"


def channels(view: View, path: str, how: str, scaled: bool = False) -> tuple:
    """Plot B and its caption: sorted, by channel, or token by token; `scaled`: after ASVD's scaling, too."""
    summary = view.study.summary(view.body.site(path).group)
    said = [plots.channel_caption(summary)]
    alpha = METHODS["asvd-0"].settle()["alpha"] if scaled else None
    if how == "Tokens":
        figure = plots.token_heatmap(summary, alpha)
        said.append(plots.token_caption(summary, alpha))
    else:
        figure = plots.channel_profile(summary, how == "By channel", alpha)
    if scaled:
        after = plots.rms_after(summary, alpha)
        said.append(plots.scaled_caption(summary.outlier_ratio, float(after.max() / np.median(after))))
    return figure, " ".join([*said, how_measured(view)])


def how_measured(view: View) -> str:
    """The setting behind a plot."""
    return f"*Measured: {view.setting}.*"


_HELD_OUT: OrderedDict[tuple, dict[str, tuple]] = OrderedDict()  # the last few measured curves, by what decided them


def spectrum(view: View, path: str, keep: float, planned: int | None = None) -> tuple:
    """Plot C and its caption, plot D and its caption, and the readout table at a keep; `planned`: the plan's rank."""
    site, spectra = view.body.site(path), view.site_spectra(path)
    if view.saved:
        why = "The layer is compressed already: its dense weight is not in this folder."
        return (plots.nothing(why), "", plots.nothing("What a cut costs is told by the dense weight."),
                *at(view, path, keep)[1:])  # fmt: skip
    rank = rank_at(site, keep)
    edge = break_even(site)
    first = plots.spectrum(spectra, LABELS, rank, edge, site.d_out + site.d_in, planned)
    second = plots.cut_error(spectra, LABELS, rank, edge, _HELD_OUT.get(_held_key(view, path)))
    return (first, f"{plots.energy_caption(spectra, LABELS)} {how_measured(view)}", second, *at(view, path, keep)[1:])


def at(view: View, path: str, keep: float) -> tuple[str, str, str]:
    """What follows the keep slider: where the marks in C and D go, plot D's caption and the readout."""
    site, spectra = view.body.site(path), view.site_spectra(path)
    if view.saved:
        return "", "", as_saved(view, site)
    rank = rank_at(site, keep)
    marks = json.dumps({"plots": ["plot-c", "plot-d"], "name": RANK, "x": rank, "text": f"rank {rank}"})
    measured = _HELD_OUT.get(_held_key(view, path))
    said = f"{plots.spectrum_caption(spectra, LABELS, rank)} *Predicted: {view.setting}.*"
    return marks, said, readout(site, spectra, keep, measured)


def as_saved(view: View, site: Site) -> str:
    """What a layer of a saved model is, in words."""
    unit = next(u for u in view.units if site in u.sites)
    rank = view.plan().ranks[unit.path]
    if rank is None:
        return f"**{site.label}** ({site.d_out} × {site.d_in}) is dense."
    shared = f" shared by {unit.role}," if len(unit.sites) > 1 else ""
    return (
        f"**{site.label}** ({site.d_out} × {site.d_in}) is a product of rank **{rank}**,{shared} stored "
        f"{unit.storage}: {count(unit.cost(rank))} of {count(unit.parameters)} parameters."
    )


def planned_rank(view: View, plan: Plan | None, path: str) -> int | None:
    """The rank that a plan gives a site, where it gives one."""
    return plan.site_ranks(view.units).get(path) if plan else None


def measure_held_out(house: House, view: View, path: str, session: str) -> Generator[tuple[bool, str], None, None]:
    """Measures plot D on held-out text: (whether the curves are there, status); a newer one of the session ends it."""
    if _held_key(view, path) in _HELD_OUT:
        yield True, ""
        return
    methods = [s.method for s in view.site_spectra(path) if not METHODS[s.method].joint]
    found = yield from held_out(house, view.recipe, session, view.body.site(path), methods)
    if found is None:
        yield False, "Stopped."
        return
    _HELD_OUT[_held_key(view, path)] = found
    while len(_HELD_OUT) > KEPT_CURVES:
        _HELD_OUT.popitem(last=False)
    yield True, f"*Solid: measured on {read_text(HELD_OUT).label}, {EVALUATION_WINDOWS} windows.*"


def see_lane(session: str) -> str:
    """The name a session's held-out curves go by."""
    return f"{session}/see"


@one_job(see_lane)
def held_out(house: House, recipe: Recipe, session: str, site: Site, methods: list[str]):
    """The curves of plot D under these methods, after statuses; None where a newer one of the session began."""
    lane = see_lane(session)
    turn = house.next_turn(lane)
    yield False, "Loading the model …"
    bench = house.bench(recipe)
    other = house.bench(recipe.model_copy(update={"text": HELD_OUT, "windows": EVALUATION_WINDOWS}))
    from ..study.held_out import held_out_error

    units = [Unit((site,), m, recipe.settings_of(m)) for m in methods]
    return (yield from told(house.steps(held_out_error.steps(bench, other, units), lane, turn)))


def _held_key(view: View, path: str) -> tuple:
    return view.study.source, path, view.recipe.method


def readout(site: Site, spectra: list, keep: float, measured: dict | None = None) -> str:
    """A small table: what rank the keep means here, and what each method loses by it."""
    rank = rank_at(site, keep) or site.max_rank
    head = (
        f"**{site.label}** ({site.d_out} × {site.d_in}) at keep {percent(keep)}: rank **{rank}** of {site.max_rank}, "
        f"{count(rank * (site.d_out + site.d_in))} of {count(site.parameters)} parameters.\n\n"
        f"| method | energy kept | output error, predicted |{' held out |' if measured else ''}\n"
        f"|---|---|---|{'---|' if measured else ''}\n"
    )
    rows = []
    for s in spectra:
        error = float(np.interp(rank, s.ranks, s.output_error)) / max(s.energy, 1e-30)
        row = f"| {LABELS[s.method]} | {percent(s.energy_kept[rank])} | {percent(error)} |"
        if measured:
            known = measured.get(s.method)
            row += f" {percent(float(np.interp(rank, *known))) if known else '–'} |"
        rows.append(row)
    return head + "\n".join(rows)
