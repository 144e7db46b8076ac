"""Sums over tokens that become an input group's statistics; two halves merged equal one pass."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import NonFinite
from ..methods import Statistics
from ..types import ChannelSummary


@dataclass
class Moments:
    """Running sums over tokens of one input group; float64 on the activations' device."""

    tokens: int
    gram: Tensor  # (n, n) Σ x xᵀ
    absolute: Tensor  # (n,) Σ |x|
    fourth: Tensor  # (n,) Σ x⁴
    largest: Tensor  # (n,) max |x|
    plain: Tensor  # (n,) Σ x

    @classmethod
    def zeros(cls, channels: int, device: torch.device) -> "Moments":
        def zero(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        return cls(0, zero(channels, channels), zero(channels), zero(channels), zero(channels), zero(channels))

    def add(self, x: Tensor, where: str) -> None:
        """Add inputs x (…, n); NonFinite, naming the input group, where they are not finite."""
        flat = x.detach().flatten(0, -2).double()
        if not torch.isfinite(flat).all():
            raise NonFinite(f"The inputs of {where} hold NaN or infinity.", "Load the model in float32 or bfloat16.")
        self.tokens += len(flat)
        self.gram.addmm_(flat.T, flat)  # in place: of a wide layer the product alone takes hundreds of megabytes
        magnitude = flat.abs()
        self.absolute += magnitude.sum(0)
        self.fourth += flat.pow(4).sum(0)
        self.largest = torch.maximum(self.largest, magnitude.amax(0))
        self.plain += flat.sum(0)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both samples together."""
        return Moments(
            self.tokens + other.tokens,
            self.gram + other.gram,
            self.absolute + other.absolute,
            self.fourth + other.fourth,
            torch.maximum(self.largest, other.largest),
            self.plain + other.plain,
        )

    def statistics(self) -> Statistics:
        """What the methods read."""
        n = self.tokens
        return Statistics(self.gram / n, self.absolute / n, self.largest, n, self.plain / n)


@dataclass(frozen=True)
class TokenMap:
    """|x| over the first tokens of the first window, kept whole until the loudest channels are known."""

    values: Tensor  # (t, n)
    tokens: tuple[str, ...]


def summary(group: str, moments: Moments, shown: TokenMap, channels: int = 48) -> ChannelSummary:
    """The ChannelSummary of an input group, float32 and small enough to ship."""

    def numpy(t: Tensor) -> np.ndarray:
        return t.cpu().numpy().astype(np.float32)

    square = moments.gram.diagonal() / moments.tokens
    floor = torch.finfo(torch.float64).tiny
    loudest = shown.values.amax(0).topk(min(channels, shown.values.shape[1])).indices
    return ChannelSummary(
        group,
        moments.tokens,
        numpy(square.sqrt()),
        numpy(moments.absolute / moments.tokens),
        numpy(moments.largest),
        numpy(moments.fourth / moments.tokens / square.square().clamp_min(floor)),
        loudest.cpu().numpy().astype(np.int32),
        numpy(shown.values[:, loudest]),
        shown.tokens,
    )
