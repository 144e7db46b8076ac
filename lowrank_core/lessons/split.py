"""Lesson 6, first part: two real layers share one budget, and their measured losses say how to split it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..settings import CANDIDATES
from .base import Control, percent
from .bundled import bundled

BLOCKS, ROLE = (0, 1), "down"
CONTROL = Control("Keep of the first layer; the other keeps the rest", 0.1, 0.9, 0.1, 0.5, 0.8)


@dataclass(frozen=True)
class Split:
    """Measured losses above dense of two layers of one size, where the second keeps what the first does not."""

    keeps: np.ndarray  # (9,) of the first layer
    losses: dict[str, np.ndarray]  # layer, or "both" → (9,) nats per token
    keep: float  # where the slider stands
    setting: str

    @property
    def at(self) -> int:
        return int(np.abs(self.keeps - self.keep).argmin())

    @property
    def best(self) -> int:
        """Where both together lose least."""
        return int(self.losses["both"].argmin())

    @property
    def caption(self) -> str:
        first, second, both = (losses[self.at] for losses in self.losses.values())
        return (
            f"{percent(self.keep, 0)} and {percent(1 - self.keep, 0)} kept: "
            f"{first:.3f} + {second:.3f} = {both:.3f} nats per token above dense. "
            f"Each measured with the rest of the model dense. {self.setting}."
        )


def split(keep: float) -> Split:
    """The Split of the bundled model's two layers."""
    study = bundled()
    units = [next(u for u in study.units if u.block == block and u.role == ROLE) for block in BLOCKS]
    first, second = (np.array([study.points[u.path][k].delta_nll for k in CANDIDATES]) for u in units)
    second = second[::-1]  # candidates lie evenly: what is left of a keep is another one
    losses = {units[0].label: first, units[1].label: second, "both": first + second}
    return Split(np.array(CANDIDATES), losses, keep, study.setting)
