"""The words of the project as frozen values (numpy only, so that pages can read results without torch)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from .drift import Drift


@dataclass(frozen=True)
class Site:
    """One linear layer that may be compressed; y = W x + b with W of (d_out, d_in)."""

    path: str  # as in model.named_modules()
    block: int
    role: str  # q, k, v, o, gate, up, down, or the module's own name where the family is unknown
    group: str  # key of the input group, e.g. "3.qkv"
    d_out: int
    d_in: int
    bias: bool = False  # whether the layer adds one

    @property
    def parameters(self) -> int:
        """Entries of the weight; a bias is never compressed and not counted."""
        return self.d_out * self.d_in

    @property
    def max_rank(self) -> int:
        return min(self.d_out, self.d_in)

    @property
    def label(self) -> str:
        return f"block {self.block} · {self.role}"

    @property
    def form(self) -> tuple:
        """What decides the cost of a rank."""
        return "factored", False, self.d_out, self.d_in

    def cost(self, rank: int) -> int:
        """Parameters of plain factors of a rank: r (m + n)."""
        return rank * (self.d_out + self.d_in)


@dataclass(frozen=True)
class Unit:
    """What gets one rank: a site, or the sites of an input group that share a right factor; and how it is factored."""

    sites: tuple[Site, ...]
    method: str = "asvd-i"
    settings: Mapping[str, float] = field(default_factory=dict, hash=False)  # every parameter of the method
    storage: str = "factored"  # or "pivoted": r rows are kept, the others are written in terms of them
    biased: bool = False  # whether compression adds a bias that the dense layer does not have

    @cached_property
    def path(self) -> str:
        """The site's path; the input group's key where several sites share."""
        return self.sites[0].path if len(self.sites) == 1 else self.sites[0].group

    @property
    def block(self) -> int:
        return self.sites[0].block

    @property
    def role(self) -> str:
        return "+".join(s.role for s in self.sites)

    @property
    def group(self) -> str:
        return self.sites[0].group

    @property
    def label(self) -> str:
        return f"block {self.block} · {self.role}"

    @cached_property
    def d_out(self) -> int:
        return sum(s.d_out for s in self.sites)

    @cached_property
    def d_in(self) -> int:
        return self.sites[0].d_in

    @cached_property
    def parameters(self) -> int:
        """Entries of the dense weights."""
        return self.d_out * self.d_in

    @property
    def max_rank(self) -> int:
        return min(self.d_out, self.d_in)

    @property
    def form(self) -> tuple:
        """What decides the cost of a rank: units of one form cost the same."""
        return self.storage, self.biased, self.d_out, self.d_in

    def cost(self, rank: int) -> int:
        """Parameters at a rank, or at an array of them.

        r (m + n); pivoted, r (m + n) − r² and m bits, each byte as one; and an added bias.
        """
        plain = rank * (self.d_out + self.d_in)
        saved = rank * rank - -(-self.d_out // 8) if self.storage == "pivoted" else 0
        return plain - saved + (self.d_out if self.biased else 0)


class Priced(Protocol):
    """A Site or a Unit: what an allocator gives a rank to."""

    path: str
    d_out: int
    d_in: int
    parameters: int
    max_rank: int
    form: tuple  # what decides the cost of a rank

    def cost(self, rank: int) -> int: ...


@dataclass(frozen=True)
class Setting:
    """How a number came about: it stands beside every measurement."""

    text: str
    windows: int
    window: int  # tokens per window
    dtype: str
    device: str
    seed: int = 0
    bos: bool = False  # whether every window begins with a BOS token, as the model's family needs

    def __str__(self) -> str:
        tokens = "tokens with BOS in front" if self.bos else "tokens"
        return f"{self.text}, {self.windows} × {self.window} {tokens}, {self.dtype} on {self.device}, seed {self.seed}"


@dataclass(frozen=True)
class ChannelSummary:
    """What one input group's activations look like, channel by channel."""

    group: str
    tokens: int
    rms: np.ndarray  # (d_in,) root mean square of each channel
    abs_mean: np.ndarray  # (d_in,)
    abs_max: np.ndarray  # (d_in,)
    kurtosis: np.ndarray  # (d_in,) E[x⁴] / E[x²]², 3 for a Gaussian of mean 0
    map_channels: np.ndarray  # (c,) the loudest channels, in falling order of their largest |x| in the shown window
    map_values: np.ndarray  # (t, c) |x| of those channels over the first tokens of the first window
    map_tokens: tuple[str, ...]  # the t tokens as text

    @property
    def outlier_ratio(self) -> float:
        """Largest channel rms / median channel rms."""
        return float(self.rms.max() / max(float(np.median(self.rms)), np.finfo(np.float32).tiny))

    @property
    def top_channel(self) -> int:
        return int(self.rms.argmax())

    @property
    def energy_share(self) -> np.ndarray:
        """(d_in,) each channel's share of the summed squares."""
        square = self.rms.astype(np.float64) ** 2
        return square / max(square.sum(), np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Spectrum:
    """One site under one method: singular values, and the error of every rank on the calibration text."""

    path: str
    method: str
    sigma: np.ndarray  # (R,) singular values of the scaled matrix, falling
    ranks: np.ndarray  # (K,) the ranks the errors are given at, rising, from 0 to R
    output_error: np.ndarray  # (K,) tr(Δ C Δᵀ): mean squared change of the output, summed over outputs
    energy: float  # tr(W C Wᵀ), the error of rank 0
    loss: np.ndarray  # (K,) nats above dense that the cut costs to second order
    stable_rank: float = 0.0  # ‖W‖²_F / σ₁² of the weight itself
    drift: Drift | None = None  # and what it does to first order

    def predicted(self, rank: int | np.ndarray) -> np.ndarray:
        """Predicted nll above dense (nats per token) at a rank; between given ranks by linear interpolation.

        Of both orders; a cut is never predicted to cost less than a smaller one.
        """
        return np.interp(rank, self.ranks, self._curve)

    def second(self, rank: int | np.ndarray) -> np.ndarray:
        """The same to second order alone."""
        return np.interp(rank, self.ranks, self.loss)

    def first(self, rank: int | np.ndarray) -> np.ndarray:
        """The same to first order alone; 0 where it is not known."""
        return 0.0 * np.asarray(rank, float) if self.drift is None else self.drift.expected(rank)

    @cached_property
    def _curve(self) -> np.ndarray:
        return np.maximum.accumulate((self.loss + self.first(self.ranks))[::-1])[::-1]

    @property
    def energy_kept(self) -> np.ndarray:
        """(R + 1,) share of the squared singular values kept at ranks 0 … R, in the method's own metric."""
        square = np.concatenate([[0.0], np.cumsum(self.sigma.astype(np.float64) ** 2)])
        return square / max(square[-1], np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Point:
    """One measurement of the sensitivity table: one site at one rank, everything else dense."""

    path: str
    keep: float  # the candidate: kept share of the site's parameters
    rank: int
    deltas: tuple[float, ...]  # nats per token above dense, window by window, on the first so many probe windows

    @property
    def delta_nll(self) -> float:
        """Nats per token above dense: the mean over windows."""
        return sum(self.deltas) / len(self.deltas)

    @cached_property
    def stderr(self) -> float:
        """The standard error of the mean; 0 where one window tells no spread."""
        return float(np.std(self.deltas, ddof=1) / len(self.deltas) ** 0.5) if len(self.deltas) > 1 else 0.0

    @property
    def windows(self) -> int:
        return len(self.deltas)


@dataclass(frozen=True)
class Plan:
    """A rank for every unit, or None where it stays dense."""

    ranks: Mapping[str, int | None]  # unit path → rank

    def kept(self, units: Iterable[Priced]) -> int:
        """Parameters of the units under this plan, counted from the integer ranks."""
        return sum(cost(u, self.ranks.get(u.path)) for u in units)

    def ratio(self, units: Iterable[Priced]) -> float:
        """The fraction of the units' parameters that is removed."""
        units = tuple(units)
        return 1.0 - self.kept(units) / sum(u.parameters for u in units)

    def site_ranks(self, units: Iterable[Unit]) -> dict[str, int | None]:
        """Site path → the rank of its unit."""
        return {s.path: self.ranks.get(u.path) for u in units for s in u.sites}


def cost(unit: Priced, rank: int | None) -> int:
    """Parameters a unit has at a rank, or dense."""
    return unit.parameters if rank is None else unit.cost(rank)


def rank_at(unit: Priced, keep: float) -> int | None:
    """The largest rank that holds at most `keep` of the unit's parameters, at least 1; None from keep 1 on."""
    if keep >= 1:
        return None
    budget = keep * unit.parameters + 1e-6
    none, one, two = (unit.cost(r) for r in range(3))
    bend = (two - 2 * one + none) / 2  # costs are at most quadratic: none + slope r + bend r²
    slope = one - none - bend
    under = slope**2 - 4 * bend * (none - budget)
    exact = 2 * (budget - none) / (slope + max(under, 0) ** 0.5)  # the smaller root, also where bend is 0
    rank = int(min(max(exact, 1), unit.max_rank))
    if rank < unit.max_rank and unit.cost(rank + 1) <= budget:  # rounding may have lost one, or won one
        return rank + 1
    return rank - 1 if rank > 1 and unit.cost(rank) > budget else rank


@dataclass(frozen=True)
class Divergence:
    """How far a model's next-token distributions are from the dense model's, over all scored tokens."""

    kl: float  # mean KL(dense ‖ compressed), nats per token
    agreement: float  # share of tokens at which both find the same token likeliest


@dataclass(frozen=True)
class Measurement:
    """The loss of a model on a text."""

    nll: float  # nats per scored token
    tokens: int  # scored tokens
    setting: Setting
    window_nll: tuple[float, ...] = field(default=(), repr=False)  # mean nll of each window
    divergence: "Divergence | None" = None  # from the dense model on the same tokens, where it was asked for

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.nll))
