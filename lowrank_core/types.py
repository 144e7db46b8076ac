"""The words of the project as frozen values (numpy only, so that pages can read results without torch)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Site:
    """One linear layer that may be compressed; y = W x + b with W of (d_out, d_in)."""

    path: str  # as in model.named_modules()
    block: int
    role: str  # q, k, v, o, gate, up, down, or the module's own name where the family is unknown
    group: str  # key of the input group, e.g. "3.qkv"
    d_out: int
    d_in: int

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


@dataclass(frozen=True)
class Setting:
    """How a number came about: it stands beside every measurement."""

    text: str
    windows: int
    window: int  # tokens per window
    dtype: str
    device: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.text}, {self.windows} × {self.window} tokens, {self.dtype} on {self.device}, seed {self.seed}"


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
    loss_scale: float  # ½ · mean squared output gradient: nats per unit of output error

    def predicted(self, rank: int | np.ndarray) -> np.ndarray:
        """Predicted nll above dense (nats per token) at a rank; between given ranks by linear interpolation."""
        return self.loss_scale * np.interp(rank, self.ranks, self.output_error)

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
    delta_nll: float  # nats per token above dense, same windows
    stderr: float  # over windows


@dataclass(frozen=True)
class Plan:
    """A rank for every site, or None where it stays dense."""

    ranks: Mapping[str, int | None]
    storage: str = "factored"

    def kept(self, sites: tuple[Site, ...]) -> int:
        """Parameters of the sites under this plan, counted from the integer ranks."""
        return sum(cost(s, self.ranks.get(s.path)) for s in sites)

    def ratio(self, sites: tuple[Site, ...]) -> float:
        """The fraction of the sites' parameters that is removed."""
        return 1.0 - self.kept(sites) / sum(s.parameters for s in sites)


def cost(site: Site, rank: int | None) -> int:
    """Parameters a site has at a rank: r (m + n) factored, m n dense."""
    return site.parameters if rank is None else rank * (site.d_out + site.d_in)


def rank_at(site: Site, keep: float) -> int | None:
    """The largest rank whose factors hold at most `keep` of the site's parameters; None from keep 1 on."""
    return None if keep >= 1 else max(1, int(keep * site.parameters / (site.d_out + site.d_in) + 1e-9))


@dataclass(frozen=True)
class Measurement:
    """The loss of a model on a text."""

    nll: float  # nats per scored token
    tokens: int  # scored tokens
    setting: Setting
    window_nll: tuple[float, ...] = field(default=(), repr=False)  # mean nll of each window

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.nll))
