"""What a method is: a row that says which statistics it needs and how a weight becomes factors of every rank.

Nothing here or in the entries imports torch at the top: menus read the registry before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadValue

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Second moment and means of one input group; float64 tensors on one device."""

    gram: Tensor  # (n, n) X Xᵀ / N
    abs_mean: Tensor  # (n,) mean |x|
    abs_max: Tensor  # (n,) max |x|
    tokens: int


@dataclass(frozen=True)
class Parameter:
    """A number that a method takes: its name, default, range and one line on what it does."""

    name: str
    default: float
    low: float
    high: float
    line: str

    def check(self, value: Any) -> float:
        """The value as a float; BadValue outside [low, high]."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not self.low <= number <= self.high:
            raise BadValue(f"{self.name} is {value!r}.", f"Give a number from {self.low} to {self.high}.")
        return number


@dataclass(frozen=True)
class Factors:
    """W ≈ left @ right."""

    left: Tensor  # (m, r)
    right: Tensor  # (r, n)


@dataclass(frozen=True)
class Factorization:
    """One site's factors: of every rank at once where the method is sliceable, else made rank by rank by `second`."""

    left: Tensor  # (m, R)
    right: Tensor  # (R, n)
    sigma: Tensor  # (R,) in the method's own metric
    output_error: Tensor  # (R + 1,) tr(Δ C Δᵀ) at ranks 0 … R of the (outer) factorization
    second: Callable[[int], Factors] | None = None

    def cut(self, rank: int) -> Factors:
        """The factors at a rank: slices, unless the method has a second stage."""
        if self.second is not None:
            return self.second(rank)
        return Factors(self.left[:, :rank], self.right[:rank])


@dataclass(frozen=True)
class Method:
    """An entry of METHODS."""

    key: str
    label: str
    line: str  # one sentence for menus and docs
    paper: str  # where it is from
    link: str
    sliceable: bool  # whether the factors of every rank are slices of one factorization
    factorize: Callable[[Tensor, Statistics, Mapping[str, float]], Factorization]  # weight (m, n) float64
    parameters: tuple[Parameter, ...] = ()

    def settle(self, given: Mapping[str, Any] | None = None) -> dict[str, float]:
        """Every parameter's value: what was given, checked, and the defaults; BadValue for an unknown name."""
        given = dict(given or {})
        values = {p.name: p.check(given.pop(p.name, p.default)) for p in self.parameters}
        if given:
            known = ", ".join(p.name for p in self.parameters) or "none"
            raise BadValue(f"{self.key} has no parameter {', '.join(given)}.", f"It takes: {known}.")
        return values
