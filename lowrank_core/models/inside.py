"""Start a block in its middle: what an exchanged site leaves as it was is taken from the dense run.

A change at one linear layer touches nothing that ran before it, nor its neighbours that read the same input. Their
outputs are recorded once, for all the candidates of a site, and several candidates run side by side as one batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import BlockRunner
from .in_float32 import in_float32


@dataclass
class Recording:
    """One block's dense run on some windows: when each of its modules ran, and what it gave.

    Memory: the outputs of one block's modules for these windows, no more than the forward pass itself makes.
    """

    index: int
    ids: Tensor  # (B, T)
    hidden: Tensor  # (B, T, d) what enters the block
    began: dict[nn.Module, int] = field(default_factory=dict)
    ended: dict[nn.Module, int] = field(default_factory=dict)
    inputs: dict[nn.Module, Any] = field(default_factory=dict)  # the first argument
    outputs: dict[nn.Module, Any] = field(default_factory=dict)
    often: set[nn.Module] = field(default_factory=set)  # ran more than once: never skipped


@torch.no_grad()
def record(runner: BlockRunner, index: int, hidden: Tensor, ids: Tensor) -> Recording:
    """The Recording of block `index` on the hidden states (B, T, d) that enter it, for token ids (B, T)."""
    made, clock, handles = Recording(index, ids, hidden), iter(range(10**9)), []

    def begin(module, args):
        if module in made.began:
            made.often.add(module)
        made.began[module] = next(clock)
        made.inputs[module] = args[0] if args else None

    def end(module, args, output):
        made.ended[module] = next(clock)
        made.outputs[module] = output

    try:
        for module in runner.blocks[index].modules():
            handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
        runner.step(index, hidden, ids)
    finally:
        for handle in handles:
            handle.remove()
    return made


@torch.no_grad()
def logits_side_by_side(
    runner: BlockRunner,
    recording: Recording,
    paths: Sequence[str],
    neighbours: Sequence[str],
    candidates: Sequence[Mapping[str, nn.Module]],
) -> Tensor:
    """(K·B, T, V) logits with each of K candidates in place: the first B are the first candidate's.

    candidates: path → the module that takes its place, for each of `paths`, sites of one input in the recorded block;
    neighbours: the other sites that read this input.
    """
    block, copies = runner.blocks[recording.index], len(candidates)
    sites = {path: runner.model.get_submodule(path) for path in paths}
    with in_float32(runner.model):
        given = {m: torch.cat([c[path](recording.inputs[m]) for c in candidates]) for path, m in sites.items()}
    first = min(recording.began[m] for m in given)
    beside = {runner.model.get_submodule(path) for path in neighbours}
    around = {m for m in block.modules() if any(s in set(m.modules()) for s in given)}
    answers: dict[nn.Module, Any] = dict(given)
    for module, ended in recording.ended.items():
        if module in around or module in recording.often:
            continue
        if ended < first or module in beside:
            answers[module] = _widened(recording.outputs[module], copies, recording.ids)
    if len(given) == 1:
        _pass_outwards(recording, block, next(iter(given.items())), around, answers)
    with _answering(answers):
        return runner.logits(recording.ids.repeat(copies, 1), recording.index, recording.hidden.repeat(copies, 1, 1))


def _pass_outwards(recording: Recording, block: nn.Module, given: tuple, around: set, answers: dict) -> None:
    """Where a site's output is what a module around it gives, that module need not run either."""
    site, output = given
    dense = recording.outputs[site]
    for module in around - {block, site}:
        found = recording.outputs.get(module)
        if module in recording.often:
            continue
        if found is dense:
            answers[module] = output
        elif isinstance(found, tuple) and found and found[0] is dense:
            answers[module] = (output, *found[1:])


@contextmanager
def _answering(answers: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Modules that give these answers without running."""
    try:
        for module, answer in answers.items():
            module.forward = lambda *args, _answer=answer, **kwargs: _answer
        yield
    finally:
        for module in answers:
            vars(module).pop("forward", None)


def _widened(value: Any, copies: int, ids: Tensor) -> Any:
    """A recorded output for `copies` candidates side by side; what has no axis of windows is the same for all."""
    if isinstance(value, tuple):
        return tuple(_widened(v, copies, ids) for v in value)
    if copies > 1 and isinstance(value, Tensor) and value.ndim > 1 and len(value) in (len(ids), ids.numel()):
        return value.repeat(copies, *[1] * (value.ndim - 1))
    return value
