"""The pass that collects what bases of keys and values are fitted from: moments of outputs and of loss gradients.

Labels are sampled from the model itself (the true Fisher information), seeded.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..jobs import Job, Progress
from ..models.attention import KVPlace, output_slices
from ..models.in_float32 import in_float32
from ..models.latents import stacked
from ..models.loading import LoadedModel
from ..models.surgery import share_copy
from .methods import KVStatistics

BATCH = 4  # windows at a time
HELD = 2 * 2**30  # bytes of moments in one sweep; more blocks take more sweeps
SAMPLED = 4096  # tokens of a block that are kept as they are, to price a cut token by token


@dataclass
class KVMoments:
    """Running sums over tokens of one block; float64 on the model's device."""

    place: KVPlace
    every: int  # one token in so many is kept
    tokens: int = 0
    total: Tensor | float = 0.0  # (d,) Σ y
    gram: Tensor | float = 0.0  # (d, d) Σ y yᵀ
    output_gram: Tensor | float = 0.0  # (d, d) Σ g gᵀ
    absolute: Tensor | float = 0.0  # (d_in,) Σ |x|
    sample: list[Tensor] = field(default_factory=list)
    sample_gradient: list[Tensor] = field(default_factory=list)

    def add(self, x: Tensor, y: Tensor, g: Tensor) -> None:
        """Add inputs x, outputs y and gradients g (N, …) of some tokens; NonFinite where they are not finite."""
        y, g = y.double(), g.double()
        if not (torch.isfinite(y).all() and torch.isfinite(g).all()):
            raise NonFinite(
                f"The keys and values of block {self.place.block}, or their gradients, hold NaN or infinity.",
                "Load the model in float32 or bfloat16.",
            )
        self.total, self.gram = self.total + y.sum(0), self.gram + y.T @ y
        self.output_gram, self.absolute = self.output_gram + g.T @ g, self.absolute + x.double().abs().sum(0)
        first = -self.tokens % self.every
        self.sample.append(y[first :: self.every].float())
        self.sample_gradient.append(g[first :: self.every].float())
        self.tokens += len(y)

    def statistics(self, model: nn.Module) -> KVStatistics:
        """What the bases are fitted from."""
        n, place = self.tokens, self.place
        weight = stacked(model, place)[0][place.lead :]
        return KVStatistics(
            place.keys,
            n,
            self.total / n,
            self.gram / n,
            self.output_gram / n,
            torch.cat(self.sample).double(),
            torch.cat(self.sample_gradient).double(),
            (weight * (self.absolute / n)) @ weight.T,  # ASVD's scale is the root of this one, and it enters twice
        )


def collect_kv(
    loaded: LoadedModel,
    places: Sequence[KVPlace],
    windows: Tensor,
    on_block: Callable[[KVPlace, KVStatistics], None],
    seed: int = 0,
) -> Job[None]:
    """Hands every block's KVStatistics to `on_block`, block by block after each sweep.

    windows (N, T). Yields once per batch and sweep; NonFinite names the block.
    """
    sweeps = list(_sweeps(places))
    batches = windows.split(BATCH)
    every = max(1, windows.numel() // SAMPLED)
    for number, some in enumerate(sweeps):
        model = share_copy(loaded.model)  # hooks of its own: the loaded model may serve a chat meanwhile
        generator = torch.Generator(loaded.device).manual_seed(seed)  # every sweep sees the same labels
        moments = [KVMoments(place, every) for place in some]
        with _watching(model, moments) as flush:
            for i, batch in enumerate(batches):
                with torch.enable_grad(), in_float32(model):
                    logits = model(input_ids=batch.to(loaded.device), use_cache=False).logits.float().flatten(0, 1)
                    with torch.no_grad():
                        labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                    nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
                flush()
                at = number * len(batches) + i + 1
                yield Progress(
                    "keys and values", at, len(sweeps) * len(batches), f"windows to {i * BATCH + len(batch)}"
                )
        for found in moments:
            on_block(found.place, found.statistics(loaded.model))


def _sweeps(places: Sequence[KVPlace]) -> Iterator[list[KVPlace]]:
    """The places in runs whose moments fit into HELD bytes."""
    run: list[KVPlace] = []
    held = 0
    for place in places:
        size = 8 * (2 * place.width**2 + 2 * SAMPLED * place.width)
        if run and held + size > HELD:
            yield run
            run, held = [], 0
        run.append(place)
        held += size
    if run:
        yield run


@contextmanager
def _watching(model: nn.Module, moments: list[KVMoments]) -> Iterator[Callable[[], None]]:
    """A function that adds what was seen since it was last called: inputs, outputs and their gradients."""
    seen: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def watch(index: int, is_value: bool):
        def hook(module, args, output: Tensor) -> Tensor:
            if not output.requires_grad:
                output.requires_grad_(True)  # the weights are frozen: the first layers are where the graph begins
            output.retain_grad()
            seen[index, is_value] = (args[0].detach(), output)
            return output

        return hook

    def flush() -> None:
        for index, found in enumerate(moments):
            x, key = seen[index, False]
            value = seen[index, True][1] if found.place.value else None
            y = torch.cat(output_slices(found.place, key.detach(), value.detach() if value is not None else None), -1)
            g = torch.cat(output_slices(found.place, key.grad, value.grad if value is not None else None), -1)
            found.add(x.flatten(0, -2), y.flatten(0, -2), g.flatten(0, -2))
        seen.clear()

    handles = []
    for index, found in enumerate(moments):
        for is_value, path in enumerate((found.place.key, found.place.value)):
            if path is not None:
                handles.append(model.get_submodule(path).register_forward_hook(watch(index, bool(is_value))))
    try:
        yield flush
    finally:
        for handle in handles:
            handle.remove()
