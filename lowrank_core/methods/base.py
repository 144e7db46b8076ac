"""What a method is: a row that says which statistics it needs and how a weight becomes factors of every rank.

Nothing here or in the entries imports torch at the top: menus read the registry before torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import BadValue

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """What calibration knows of one site's inputs, and of the loss gradient at its outputs; float64 on one device.

    Gradients are of the summed token losses, with labels sampled from the model (the true Fisher information); None
    where no method asked for them.
    """

    gram: Tensor  # (n, n) X Xᵀ / N
    abs_mean: Tensor  # (n,) mean |x|
    abs_max: Tensor  # (n,) max |x|
    tokens: int
    mean: Tensor | None = None  # (n,) mean x
    output_gram: Tensor | None = None  # (m, m) E[g gᵀ], g the gradient at a token's output
    row_fisher: Tensor | None = None  # (m,) E over windows of the squared weight gradient, summed over a row
    column_fisher: Tensor | None = None  # (n,) the same, averaged over a column


@dataclass(frozen=True)
class Parameter:
    """A number that a method takes: its name, default, range and one line on what it does.

    Where the number is a choice, `names` spells 0, 1, 2 … out, and either is accepted.
    """

    name: str
    default: float
    low: float
    high: float
    line: str
    names: tuple[str, ...] = ()

    @classmethod
    def choice(cls, name: str, names: tuple[str, ...], line: str) -> Parameter:
        """A parameter that is one of these names, the first by default."""
        return cls(name, 0.0, 0.0, len(names) - 1.0, line, names)

    def starting_at(self, default: float) -> Parameter:
        """The same parameter with another default."""
        return replace(self, default=default)

    def check(self, value: Any) -> float:
        """The value as a float; BadValue outside [low, high]."""
        try:
            number = float(self.names.index(value) if value in self.names else value)
        except (TypeError, ValueError):
            number = float("nan")
        if not self.low <= number <= self.high or (self.names and number != int(number)):
            hint = (
                f"Give one of {', '.join(self.names)}."
                if self.names
                else (f"Give a number from {self.low} to {self.high}.")
            )
            raise BadValue(f"{self.name} is {value!r}.", hint)
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
    output_error: Tensor  # (R + 1,) tr(Δ C Δᵀ) at ranks 0 … R of the (outer) factorization; Δ C Δᵀ centred with `mean`
    second: Callable[[int], Factors] | None = None
    loss: Tensor | None = None  # (R + 1,) predicted nats, of methods that weigh the outputs themselves
    mean: Tensor | None = None  # (n,) with centring: (W − Ŵ) mean goes into the bias

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
    gradients: Callable[[Mapping[str, float]], bool] = lambda settings: False  # whether it reads the gradient moments
    joint: bool = False  # whether the sites that read one input share their right factor, stacked as one weight

    def settle(self, given: Mapping[str, Any] | None = None) -> dict[str, float]:
        """Every parameter's value: what was given, checked, and the defaults; BadValue for an unknown name."""
        given = dict(given or {})
        values = {p.name: p.check(given.pop(p.name, p.default)) for p in self.parameters}
        if given:
            known = ", ".join(p.name for p in self.parameters) or "none"
            raise BadValue(f"{self.key} has no parameter {', '.join(given)}.", f"It takes: {known}.")
        return values

    def decisive(self, settled: Mapping[str, float]) -> dict[str, float]:
        """The values that differ from the defaults: what stored results are named by."""
        return {p.name: settled[p.name] for p in self.parameters if settled.get(p.name, p.default) != p.default}
