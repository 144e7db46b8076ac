"""The pass that collects every input group's statistics, one block at a time.

Hidden states travel from block to block, so only one block's moments are in memory, and a job that was stopped goes
on at the first block whose results are not stored yet.
"""

from collections.abc import Callable
from contextlib import contextmanager

from torch import Tensor, nn

from ..errors import ModelUnsupported
from ..jobs import Job, Progress
from ..models.blocks import BlockRunner
from ..models.loading import LoadedModel
from ..models.surgery import share_copy
from ..types import Site
from .accumulate import Moments, TokenMap

BATCH = 8  # windows at a time
SHOWN_TOKENS = 96  # of the first window, for the token picture

OnGroup = Callable[[str, Moments, TokenMap], None]


def collect(loaded: LoadedModel, windows: Tensor, on_group: OnGroup, done: frozenset[str] = frozenset()) -> Job[None]:
    """Hands every input group's Moments to `on_group`, except the groups that are `done` already.

    windows (N, T). Yields once per batch and block; raises NonFinite naming the input group.
    """
    anatomy, device = loaded.anatomy, loaded.device
    model = share_copy(loaded.model)  # hooks of its own: the loaded model may serve a chat meanwhile
    runner = BlockRunner(model, anatomy.block_paths)
    batches = [b.to(device) for b in windows.split(BATCH)]
    hidden = [runner.embed(ids) for ids in batches]
    tokens = tuple(loaded.tokenizer.batch_decode(windows[0, :SHOWN_TOKENS, None]))
    last = max((v[0].block for k, v in anatomy.groups.items() if k not in done), default=-1)
    for index in range(last + 1):
        groups = {k: v for k, v in anatomy.groups.items() if v[0].block == index and k not in done}
        moments = {k: Moments.zeros(v[0].d_in, device) for k, v in groups.items()}
        shown: dict[str, TokenMap] = {}
        for i, ids in enumerate(batches):
            with _watching(model, groups, moments, shown, tokens):
                hidden[i] = runner.step(index, hidden[i], ids)
            yield Progress("statistics", index * len(batches) + i + 1, (last + 1) * len(batches), f"block {index}")
        for key in groups:
            if key not in shown:
                raise ModelUnsupported(f"Nothing passes through {key}.", "Its layers are not used when the model runs.")
            on_group(key, moments.pop(key), shown[key])


@contextmanager
def _watching(
    model: nn.Module,
    groups: dict[str, tuple[Site, ...]],
    moments: dict[str, Moments],
    shown: dict[str, TokenMap],
    tokens: tuple[str, ...],
):
    """Adds what the first site of each group reads to its moments while the block runs."""

    def watch(key: str):
        def hook(module, args):
            x = args[0]
            if key not in shown:
                shown[key] = TokenMap(x.flatten(0, -2)[: len(tokens)].abs().float(), tokens)
            moments[key].add(x, key)

        return hook

    handles = [model.get_submodule(sites[0].path).register_forward_pre_hook(watch(k)) for k, sites in groups.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
