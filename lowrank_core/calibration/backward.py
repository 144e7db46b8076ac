"""Loss gradients at every site's output, one block at a time: a forward sweep keeps what enters each block, a reverse
sweep runs each block once more with its graph. So only one block's graph and sums are in memory at a time.

Labels are sampled from the model itself (the true Fisher information), seeded; or they are the text's own next tokens
(the loss as it is measured).
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..jobs import Job, Progress
from ..models.blocks import BlockRunner
from ..models.in_float32 import in_float32
from ..models.loading import LoadedModel
from ..models.surgery import share_copy
from ..settings import STATES_HELD, cache_folder
from ..types import Site

BATCH = 4  # windows at a time


class Sums(Protocol):
    """What is added up at a site."""

    def add(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add inputs x (B, T, n) and gradients g (B, T, m) of sampled labels' losses, summed over tokens."""

    def drift(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add the same windows with the gradients of their own loss, a mean over tokens; only where it is asked for."""


def go_backward(
    loaded: LoadedModel,
    windows: Tensor,
    sites: Iterable[Site],
    start: Callable[[Site], Sums],
    on_site: Callable[[Site, Sums], None],
    seed: int = 0,
    sampled: int | None = None,
    given: int = 0,
) -> Job[None]:
    """Starts sums for every site, adds every token's inputs and gradients to them, and hands them to `on_site`.

    windows (N, T): in the first `sampled` of them (all, by default) every position predicts a label sampled from the
    model's own distribution, and in the first `given` of them (none) the next token of the text. The last block comes
    first, and whatever `on_site` stores need not be asked for again. Yields once per batch and block in each direction.
    *Memory*: what enters the blocks is kept on disk where it is more than `settings.STATES_HELD` bytes.
    """
    sampled = len(windows) if sampled is None else min(sampled, len(windows))
    given = min(given, len(windows))
    of_block: dict[int, list[Site]] = {}
    for site in sites:
        of_block.setdefault(site.block, []).append(site)
    if not of_block:
        return
    model = share_copy(loaded.model)  # hooks of its own: the loaded model may serve a chat meanwhile
    runner = BlockRunner(model, loaded.anatomy.block_paths)
    ends = sorted({0, sampled, given, *range(0, max(sampled, given), BATCH)})
    batches = [windows[a:b].to(loaded.device) for a, b in pairwise(ends)]
    losses = [[_sampled] * (a < sampled) + [_given] * (a < given) for a in ends[:-1]]
    generator = torch.Generator(loaded.device).manual_seed(seed)
    first, last = min(of_block), len(runner.blocks) - 1
    total, done = len(batches) * (2 * last + 1 - first), 0
    with Trail() as trail:
        hidden = [runner.embed(ids) for ids in batches]
        for index in range(last + 1):
            for i, ids in enumerate(batches):
                if index >= first:
                    trail.keep(index, i, hidden[i])
                if index < last:
                    hidden[i] = runner.step(index, hidden[i], ids)
                    done += 1
                    yield Progress("gradients", done, total, f"forward, block {index}")
        gradients: list[dict[Loss, Tensor]] = [{} for _ in batches]
        for index in range(last, first - 1, -1):
            sums = {}
            for site in of_block.get(index, ()):
                sums[site.path] = start(site)
                yield Progress("gradients", done, total, site.label)
            for i, ids in enumerate(batches):
                asked = Asked()
                with _watching(model, sums, windows.shape[1], asked), torch.enable_grad():
                    entering = trail.take(index, i).to(loaded.device).requires_grad_()
                    out = runner.logits(ids, index, entering) if index == last else runner.graph(index, entering, ids)
                    for loss in losses[i]:
                        asked.loss, again = loss, loss is not losses[i][-1]
                        value = loss(out, ids, generator) if index == last else out
                        with in_float32(model):
                            (gradients[i][loss],) = torch.autograd.grad(
                                value, entering, gradients[i].get(loss), retain_graph=again
                            )
                done += 1
                yield Progress("gradients", done, total, f"backward, block {index}")
            for site in of_block.get(index, ()):
                on_site(site, sums.pop(site.path))


def _sampled(logits: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """The summed loss of labels that the model draws itself; logits (B, T, V)."""
    flat = logits.float().flatten(0, 1)
    with torch.no_grad():
        labels = torch.multinomial(flat.softmax(-1), 1, generator=generator)[:, 0]
    return nn.functional.cross_entropy(flat, labels, reduction="sum")


def _given(logits: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """The summed losses of windows (B, T), each the mean over its next tokens."""
    flat = logits[:, :-1].float().flatten(0, 1)
    return nn.functional.cross_entropy(flat, ids[:, 1:].flatten(), reduction="sum") / (ids.shape[1] - 1)


Loss = Callable[[Tensor, Tensor, torch.Generator], Tensor]


@dataclass
class Asked:
    """Of which loss the gradients are that come by."""

    loss: Loss | None = None


@contextmanager
def _watching(model: nn.Module, sums: dict[str, Sums], length: int, asked: Asked):
    def by_window(x: Tensor) -> Tensor:
        return x.detach().reshape(-1, length, x.shape[-1])  # some families hand their MLP all tokens in one row

    def watch(path: str):
        def hook(module, args, output: Tensor) -> None:
            inputs = by_window(args[0])

            def book(gradient: Tensor) -> None:
                add = sums[path].drift if asked.loss is _given else sums[path].add
                add(inputs, by_window(gradient), path)

            output.register_hook(book)

        return hook

    handles = [model.get_submodule(p).register_forward_hook(watch(p)) for p in sums]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Trail:
    """What enters each block, by batch: in memory as far as it goes, the rest in a folder that vanishes at the end."""

    def __init__(self, most: int | None = None):
        self.most, self.held = STATES_HELD if most is None else most, 0
        self._states: dict[tuple[int, int], Tensor] = {}
        self._folder: Path | None = None

    def __enter__(self) -> "Trail":
        return self

    def __exit__(self, *error) -> None:
        self._states.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def keep(self, block: int, batch: int, states: Tensor) -> None:
        """Keep what enters a block."""
        if self.held + states.nbytes <= self.most:
            self._states[block, batch] = states
            self.held += states.nbytes
            return
        if self._folder is None:
            cache_folder().mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=".states-", dir=cache_folder()))
        save_file({"states": states.contiguous()}, self._file(block, batch))

    def take(self, block: int, batch: int) -> Tensor:
        """What was kept, which is then given up."""
        states = self._states.pop((block, batch), None)
        if states is not None:
            self.held -= states.nbytes
            return states
        file = self._file(block, batch)
        states = load_file(file)["states"]
        file.unlink()
        return states

    def _file(self, block: int, batch: int) -> Path:
        return self._folder / f"{block}-{batch}.safetensors"
