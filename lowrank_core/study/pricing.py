"""Spectra with their prices, in one backward pass: each unit is factored when the pass reaches its block."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..calibration.backward import go_backward
from ..calibration.prices import CutPrices, Prices
from ..drift import Drift
from ..jobs import Job
from ..settings import CANDIDATES, DRIFT_WINDOWS, PRICED_WINDOWS, PROBE_WINDOWS
from ..types import Site, Spectrum, Unit, rank_at

if TYPE_CHECKING:
    from .build import Workbench


def priced_spectra(bench: "Workbench", units: Iterable[Unit]) -> Job[dict[str, Spectrum]]:
    """Unit path → Spectrum, whose predicted loss is E[hᵀ Δ x] + ½ E[(gᵀ Δ x)²]: to second order, with each token's own
    gradients, h of the text's next token and g of one that the model draws, over the first calibration windows. Stored
    as they are made, the last block's first.

    *Memory*: one block's factors, or of methods with a second stage W − Ŵ at every candidate.
    *Limits*: sites that share a right factor are priced one by one and added up.
    """
    owners = {s.path: u for u in units for s in u.sites}
    open_units: dict[str, Open] = {}
    found: dict[str, Spectrum] = {}

    def start(site: Site) -> Prices | CutPrices:
        unit = owners[site.path]
        if unit.path not in open_units:
            open_units[unit.path] = Open(bench, unit)
        return open_units[unit.path].prices(site)

    def keep(site: Site, prices: Prices | CutPrices) -> None:
        unit = owners[site.path]
        if open_units[unit.path].add(prices):
            found[unit.path] = bench.keep_spectrum(unit, open_units.pop(unit.path).spectrum())

    if owners:
        windows, sites = (yield from bench.read_windows()), [bench.sites[path] for path in owners]
        much = {"sampled": PRICED_WINDOWS, "given": DRIFT_WINDOWS}
        yield from go_backward(bench.loaded, windows, sites, start, keep, bench.source.seed, **much)
    return found


class Open:
    """A unit that has been factored and waits for its price."""

    def __init__(self, bench: "Workbench", unit: Unit):
        self.unit, self.left, self.asked = unit, len(unit.sites), 0
        self.price: Tensor | float = 0.0
        self.drifts: Tensor | float = 0.0  # (N, G)
        self.tokens = bench.windows.shape[1] - 1  # of a window that have a next one
        self.bare, self.made, self.rests = bench.bare_spectrum(unit)
        self.ranks = candidate_ranks(unit, *(() if self.rests else ("pivoted",)))

    def prices(self, site: Site) -> Prices | CutPrices:
        """The sums that price one of its sites."""
        place = self.unit.sites.index(site)
        first = sum(s.d_out for s in self.unit.sites[:place])
        rows = slice(first, first + site.d_out)
        if self.rests is None:
            found = Prices(self.made.left[rows], self.made.right, self.made.mean)
        else:
            found = CutPrices([rest[rows] for rest in self.rests], self.made.mean)
        self.asked += 1
        if self.asked == len(self.unit.sites):  # of a large model a block's factors are hundreds of megabytes
            self.made = replace(self.made, left=self.made.left[:0], right=self.made.right[:, :0], second=None)
            self.rests = None
        return found

    def add(self, prices: Prices | CutPrices) -> bool:
        """Book the price of a site; whether it was the last."""
        self.price = self.price + prices.loss()
        drifts = prices.drifts()
        self.drifts = self.drifts + (drifts if isinstance(prices, CutPrices) else drifts[:, self.ranks])
        self.left -= 1
        return not self.left

    def spectrum(self) -> Spectrum:
        """With the price, in which a method that predicts the loss itself (`two-sided`, in whose estimate inputs and
        gradients are independent) has its say: the geometric mean of both chooses better ranks than either
        (assets/measurements.md)."""
        price, drifts = self.price.cpu().numpy(), self.drifts.cpu().numpy()
        loss = np.sqrt(self.made.loss.cpu().numpy() * price) if self.made.loss is not None else price
        drift = Drift(self.ranks, drifts.mean(0), drifts[:PROBE_WINDOWS], len(drifts) * self.tokens)
        return self.bare(loss, drift)


def candidate_ranks(unit: Unit, *storages: str) -> np.ndarray:
    """The candidates' ranks, 0 and the largest, of plain factors whatever the unit's storage, and of more storages."""
    made = [Unit(unit.sites, unit.method, unit.settings, storage) for storage in ("factored", *storages)]
    return np.array(sorted({0, unit.max_rank, *(rank_at(u, k) for u in made for k in CANDIDATES)}))


def candidate_rests(ranks: np.ndarray, weight: Tensor, made) -> list[Tensor]:
    """W − Ŵ at each rank."""
    cuts = (made.cut(int(rank)) for rank in ranks)
    return [weight - c.left.double() @ c.right.double() for c in cuts]


def error_of(rest: Tensor, moment: Tensor) -> float:
    """tr(Δ C Δᵀ) by its definition, Δ = W − Ŵ (m, n), C (n, n)."""
    return float(torch.sum((rest @ moment) * rest).clamp_min(0))
