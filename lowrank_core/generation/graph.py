"""One decoding step as a CUDA graph over a static cache, without torch.compile.

A step launches hundreds of small kernels, which takes the processor longer than it takes a GPU to run them; a graph is
one launch. What it reads and writes must stay where it was when the graph was recorded: the token, the cache, the
number of positions, and the logits.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import StaticCache
from transformers.cache_utils import StaticLayer

WARM = 2  # steps before recording: libraries choose their kernels and allocate what they work in
SPARE = 8  # positions beyond those asked for, which the steps before recording may write

Record = Callable[[Callable[[], None]], Callable[[], None]]


def static_cache(config, length: int) -> StaticCache | None:
    """A cache of fixed size for `length` positions; None where a model has layers that a graph cannot step.

    Sliding windows count their positions on the processor, and a graph would repeat the count it was recorded with.
    """
    cache = StaticCache(config=config, max_cache_len=length + SPARE)
    return cache if all(type(layer) is StaticLayer for layer in cache.layers) else None


class Graphed:
    """Steps of one token per sequence over a static cache that already holds the prompt."""

    def __init__(self, model: nn.Module, cache: StaticCache, argument: str, batch: int, record: Record | None = None):
        """`argument`: the name under which the model takes its cache. `record`: what makes a step repeatable."""
        device = next(model.parameters()).device
        self.ids = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.logits: Tensor | None = None

        def step() -> None:
            given = {"input_ids": self.ids, "use_cache": True, argument: cache}
            found = model(**given).logits[:, -1]
            if self.logits is None:
                self.logits = torch.empty_like(found)
            self.logits.copy_(found)

        counts = [layer.cumulative_length for layer in cache.layers]
        before = [c.clone() for c in counts]
        self._replay = (record or recorded)(step)
        for count, was in zip(counts, before, strict=True):  # the steps so far were for nothing
            count.copy_(was)

    def run(self, ids: Tensor) -> Tensor:
        """(B, V) logits of what follows the ids (B, 1); the next step writes over them."""
        if ids.numel() == 1 and not ids.is_cuda:
            self.ids.fill_(int(ids))  # a kernel's argument: nothing is copied from the processor's memory
        else:
            self.ids.copy_(ids)
        self._replay()
        return self.logits


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """A step's replay, recorded on the present CUDA device; the step itself where it cannot be recorded."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:  # it asks the GPU for a value midway, as some mixtures of experts do
        warnings.warn(f"Decoding runs without a CUDA graph: {str(error).splitlines()[0]}", stacklevel=2)
        torch.cuda.synchronize()
        return step
    return graph.replay
