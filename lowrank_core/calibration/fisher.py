"""What loss gradients say of a site: their second moment, and the Fisher information of its weights.

Labels are sampled from the model itself (the true Fisher information), seeded.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import NonFinite
from ..jobs import Job
from ..models.loading import LoadedModel
from ..types import Site
from .backward import go_backward


@dataclass
class OutputMoments:
    """Running sums over tokens and windows of one site; float64 on the model's device."""

    tokens: int
    windows: int
    gram: Tensor  # (m, m) Σ g gᵀ over tokens
    rows: Tensor  # (m,) Σ over windows of the squared weight gradient, summed over each row
    columns: Tensor  # (n,) the same, averaged over each column

    @classmethod
    def zeros(cls, site: Site, device: torch.device) -> "OutputMoments":
        def zero(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        return cls(0, 0, zero(site.d_out, site.d_out), zero(site.d_out), zero(site.d_in))

    def add(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add inputs x (B, T, n) and gradients g (B, T, m); NonFinite, naming the site, where these are not finite."""
        flat = g.flatten(0, -2).double()
        if not torch.isfinite(flat).all():
            raise NonFinite(f"The gradients at {where} hold NaN or infinity.", "Load the model in float32 or bfloat16.")
        self.tokens += len(flat)
        self.gram.addmm_(flat.T, flat)
        for inputs, gradients in zip(x, g, strict=True):
            square = (gradients.float().T @ inputs.float()).square_()  # of this window's weight gradient
            self.rows += square.sum(1).double()
            self.columns += square.mean(0).double()
            self.windows += 1

    def merge(self, other: "OutputMoments") -> "OutputMoments":
        """The moments of both samples together."""
        return OutputMoments(
            self.tokens + other.tokens,
            self.windows + other.windows,
            self.gram + other.gram,
            self.rows + other.rows,
            self.columns + other.columns,
        )

    def means(self) -> dict[str, Tensor]:
        """The fields of Statistics that come from gradients."""
        return {
            "output_gram": self.gram / self.tokens,
            "row_fisher": self.rows / self.windows,
            "column_fisher": self.columns / self.windows,
        }


def collect_fisher(
    loaded: LoadedModel,
    windows: Tensor,
    on_site: Callable[[Site, OutputMoments], None],
    seed: int = 0,
    done: frozenset[str] = frozenset(),
) -> Job[None]:
    """Hands every site's OutputMoments to `on_site`, except those whose path is `done`; see `go_backward`."""
    sites = [s for s in loaded.anatomy.sites if s.path not in done]
    yield from go_backward(loaded, windows, sites, lambda s: OutputMoments.zeros(s, loaded.device), on_site, seed)
