"""Lesson 8: the same cuts on a layer of the model that is loaded, from the spectra of its study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..allocation import break_even
from ..methods import METHODS
from ..types import Site, Spectrum, rank_at
from .base import Control, Layers, Lesson

SHOWN = ("svd", "asvd-0", "asvd-i")  # no scaling, a diagonal, the whole covariance
CONTROL = Control("Keep: share of this layer's parameters", 0.05, 0.95, 0.05, 0.8, 0.5)


@dataclass(frozen=True)
class Cut:
    """One layer, the spectra of the three cuts, and the rank that a keep means."""

    site: Site
    spectra: tuple[Spectrum, ...]
    rank: int
    setting: str

    @property
    def break_even(self) -> int:
        return break_even(self.site)

    def error(self, method: str) -> float:
        """Predicted share of the outputs' energy that a method loses."""
        s = next(s for s in self.spectra if s.method == method)
        return float(np.interp(self.rank, s.ranks, s.output_error)) / max(s.energy, 1e-30)

    @property
    def caption(self) -> str:
        lost = ", ".join(f"{METHODS[s.method].label} {100 * self.error(s.method):.2g} %" for s in self.spectra)
        return (
            f"{self.site.label} ({self.site.d_out} × {self.site.d_in}), rank {self.rank} of {self.site.max_rank}: "
            f"lost of the output's energy, {lost}. Predicted from spectra. {self.setting}."
        )


def picture(layers: Layers, path: str | None, keep: float) -> Cut:
    site = next((s for s in layers.sites if s.path == path), layers.sites[0])
    spectra = tuple(s for s in layers.spectra(site.path) if s.method in SHOWN)
    return Cut(site, spectra, rank_at(site, keep) or site.max_rank, layers.setting)


def figures(layers: Layers, path: str | None) -> dict[str, str]:
    cut = picture(layers, path, CONTROL.told)
    errors = {
        name: f"{100 * cut.error(m):.2g} %" for name, m in zip(("plain", "diagonal", "whole"), SHOWN, strict=True)
    }
    return {"layer": cut.site.label, "rank": f"{cut.rank}", **errors}


LESSON = Lesson(
    "8-yours",
    lambda choice: CONTROL,
    picture,
    figures,
    "Layer",
    lambda layers: [(s.label, s.path) for s in layers.sites],
    lambda layers: layers.loudest(),
    reads_model=True,
)
