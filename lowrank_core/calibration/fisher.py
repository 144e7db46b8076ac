"""What loss gradients say of a site: their second moment, and the Fisher information of its weights.

Labels are sampled from the model itself (the true Fisher information), seeded.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..jobs import Job, Progress
from ..models.loading import LoadedModel
from ..models.surgery import share_copy
from ..types import Site

BATCH = 4  # windows at a time
HELD = 2 * 2**30  # bytes of output moments collected in one sweep; more sites take more sweeps


class Sums(Protocol):
    """What `go_backward` adds tokens to."""

    def add(self, x: Tensor, g: Tensor, where: str) -> None: ...


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
        self.gram += flat.T @ flat
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


def go_backward(
    loaded: LoadedModel,
    windows: Tensor,
    sites: Iterable[Site],
    start: Callable[[Site], Sums],
    on_site: Callable[[Site, Sums], None],
    seed: int = 0,
) -> Job[None]:
    """Starts sums for every site, adds every token's inputs and gradients to them, and hands them to `on_site`.

    windows (N, T): every position predicts a label sampled from the model's own distribution; gradients are of the
    summed token losses. Yields once per batch and sweep.
    """
    sweeps = list(_sweeps(sites))
    batches = windows.split(BATCH)
    for number, sites in enumerate(sweeps):
        model = share_copy(loaded.model)  # hooks of its own: the loaded model may serve a chat meanwhile
        generator = torch.Generator(loaded.device).manual_seed(seed)  # every sweep sees the same labels
        moments = {s.path: start(s) for s in sites}
        with _watching(model, moments, windows.shape[1]):
            for i, batch in enumerate(batches):
                with torch.enable_grad():
                    logits = model(input_ids=batch.to(loaded.device), use_cache=False).logits.float().flatten(0, 1)
                    with torch.no_grad():
                        labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                    nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
                at = number * len(batches) + i + 1
                yield Progress("gradients", at, len(sweeps) * len(batches), f"windows to {i * BATCH + len(batch)}")
        for site in sites:
            on_site(site, moments.pop(site.path))


def _sweeps(sites: Iterable[Site]) -> Iterator[list[Site]]:
    """The sites in runs whose moments fit into HELD bytes."""
    run: list[Site] = []
    held = 0
    for site in sites:
        size = 8 * site.d_out**2
        if run and held + size > HELD:
            yield run
            run, held = [], 0
        run.append(site)
        held += size
    if run:
        yield run


@contextmanager
def _watching(model: nn.Module, moments: dict[str, Sums], length: int):
    def by_window(x: Tensor) -> Tensor:
        return x.detach().reshape(-1, length, x.shape[-1])  # some families hand their MLP all tokens in one row

    def watch(path: str):
        def hook(module, args, output: Tensor) -> Tensor:
            inputs = by_window(args[0])
            if not output.requires_grad:
                output.requires_grad_(True)  # the weights are frozen: the first sites are where the graph begins
            output.register_hook(lambda gradient: moments[path].add(inputs, by_window(gradient), path))
            return output

        return hook

    handles = [model.get_submodule(p).register_forward_hook(watch(p)) for p in moments]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
