"""What the See page shows for a selection: every function reads the store and returns values for components."""

from __future__ import annotations

import numpy as np

from .. import plots
from ..allocation import break_even
from ..types import Site, rank_at
from .view import View
from .words import LABELS, count, percent


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
    return f"## {plots.outlier_sentence(view.summaries)}\n\n{view.body.note}".rstrip()


def outlier_map(view: View, path: str):
    """Plot A with the selected site's input group outlined."""
    return plots.outlier_map(view.summaries, view.body.site(path).group)


def channels(view: View, path: str, how: str) -> tuple:
    """Plot B and its caption: sorted, by channel, or token by token."""
    summary = view.study.summary(view.body.site(path).group)
    if how == "Tokens":
        return plots.token_heatmap(summary), f"{plots.channel_caption(summary)} {how_measured(view, summary.tokens)}"
    figure = plots.channel_profile(summary, by_index=how == "By channel")
    return figure, f"{plots.channel_caption(summary)} {how_measured(view, summary.tokens)}"


def how_measured(view: View, tokens: int) -> str:
    """The setting behind a plot."""
    return f"*Measured: {view.study.setting(tokens // view.study.source.window)}.*"


def spectrum(view: View, path: str, keep: float) -> tuple:
    """Plot C, plot D, their caption and the readout table at a keep."""
    site, spectra = view.body.site(path), view.site_spectra(path)
    rank = rank_at(site, keep)
    edge = break_even(site)
    first = plots.spectrum(spectra, LABELS, rank, edge, site.d_out + site.d_in)
    second = plots.cut_error(spectra, LABELS, rank, edge)
    return first, second, plots.spectrum_caption(spectra, LABELS, rank), readout(site, spectra, keep)


def readout(site: Site, spectra: list, keep: float) -> str:
    """A small table: what rank the keep means here, and what each method loses by it."""
    rank = rank_at(site, keep) or site.max_rank
    head = (
        f"**{site.label}** ({site.d_out} × {site.d_in}) at keep {percent(keep)}: rank **{rank}** of {site.max_rank}, "
        f"{count(rank * (site.d_out + site.d_in))} of {count(site.parameters)} parameters.\n\n"
        "| method | energy kept | output error, predicted |\n|---|---|---|\n"
    )
    rows = []
    for s in spectra:
        error = float(np.interp(rank, s.ranks, s.output_error)) / max(s.energy, 1e-30)
        rows.append(f"| {LABELS[s.method]} | {percent(s.energy_kept[rank])} | {percent(error)} |")
    return head + "\n".join(rows)
