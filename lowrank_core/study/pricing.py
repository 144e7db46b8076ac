"""Spectra with their prices, in one backward pass: each unit is factored when the pass reaches its block."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..calibration.backward import go_backward
from ..calibration.prices import CutPrices, Prices
from ..jobs import Job
from ..settings import CANDIDATES, PRICED_WINDOWS
from ..types import Site, Spectrum, Unit, rank_at

if TYPE_CHECKING:
    from .build import Workbench


def priced_spectra(bench: "Workbench", units: Iterable[Unit]) -> Job[dict[str, Spectrum]]:
    """Unit path → Spectrum, whose predicted loss is ½ E[(gᵀ Δ x)²]: to second order, with each token's own gradient,
    over the first calibration windows. Stored as they are made, the last block's first.

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
        if open_units[unit.path].add(prices.loss()):
            found[unit.path] = bench.keep_spectrum(unit, open_units.pop(unit.path).spectrum())

    if owners:
        windows = (yield from bench.read_windows())[:PRICED_WINDOWS]
        sites = [bench.sites[path] for path in owners]
        yield from go_backward(bench.loaded, windows, sites, start, keep, bench.source.seed)
    return found


class Open:
    """A unit that has been factored and waits for its price."""

    def __init__(self, bench: "Workbench", unit: Unit):
        self.unit, self.left, self.asked = unit, len(unit.sites), 0
        self.price: Tensor | float = 0.0
        self.bare, self.made, self.rests = bench.bare_spectrum(unit)

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

    def add(self, price: Tensor) -> bool:
        """Book the price of a site; whether it was the last."""
        self.price = self.price + price
        self.left -= 1
        return not self.left

    def spectrum(self) -> Spectrum:
        """With the price, in which a method that predicts the loss itself (`two-sided`, in whose estimate inputs and
        gradients are independent) has its say: the geometric mean of both chooses better ranks than either
        (assets/measurements.md)."""
        price = self.price.cpu().numpy()
        return self.bare(np.sqrt(self.made.loss.cpu().numpy() * price) if self.made.loss is not None else price)


def candidate_rests(unit: Unit, weight: Tensor, made) -> tuple[np.ndarray, list[Tensor]]:
    """The candidates' ranks, 0 and the largest, the same for every storage; and W − Ŵ at each of them."""
    plain = Unit(unit.sites, unit.method, unit.settings)
    ranks = np.array(sorted({0, unit.max_rank, *(rank_at(plain, k) for k in CANDIDATES)}))
    cuts = (made.cut(int(rank)) for rank in ranks)
    return ranks, [weight - c.left.double() @ c.right.double() for c in cuts]


def error_of(rest: Tensor, moment: Tensor) -> float:
    """tr(Δ C Δᵀ) by its definition, Δ = W − Ŵ (m, n), C (n, n)."""
    return float(torch.sum((rest @ moment) * rest).clamp_min(0))
