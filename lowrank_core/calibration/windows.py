"""A text as windows of tokens."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..errors import BadValue, TextTooShort
from .chat import rendered
from .names import interleaved, shares
from .texts import CHAT, ChatText, Mix, OwnText, Text


def cut_windows(
    tokenizer: PreTrainedTokenizerBase, text: Text, count: int, length: int, seed: int = 0, bos: int | None = None
) -> Tensor:
    """(N, length) token ids, N ≤ count: disjoint windows of the text, tokenized once, no special token added.

    Seed 0 takes them from the text's start; any other seed draws them from all the text's windows. A shorter text
    gives the windows it has; TextTooShort where that is none. The parts of a mix give windows in proportion to their
    weights, so interleaved that the first few have about the mix's proportions; what a short part lacks the others
    give. Text for chat is in the template, special tokens and all. What a model wrote is as it wrote it, the seed
    having been its own. `bos`: the token that every window begins with, before length − 1 tokens of text.
    """
    if count < 1 or length < 2:
        raise BadValue(f"{count} windows of {length} tokens is not a sample.", "Give at least 1 window of 2 tokens.")
    if isinstance(text, Mix):
        pools = [cut_windows(tokenizer, part, count, length, seed, bos) for part, _ in text.parts]
        counts = shares([weight for _, weight in text.parts], count, [len(pool) for pool in pools])
        return torch.stack([pools[part][n] for part, n in interleaved(counts)])
    if isinstance(text, OwnText):
        return _begun(_written(text, count, length)[:, : None if bos is None else -1], bos)
    if isinstance(text, ChatText):
        ids = rendered(tokenizer, text.content, text.name.removeprefix(CHAT))
    else:
        ids = tokenizer(text.content, add_special_tokens=False, verbose=False).input_ids
    if bos is not None:
        length, ids = length - 1, ids[1:] if ids[:1] == [bos] else ids  # a chat template may have put one there
    whole = len(ids) // length
    if whole == 0:
        raise TextTooShort(
            f"{text.name!r} has {len(ids)} tokens, a window has {length}.", "Give a longer text or a smaller --window."
        )
    windows = torch.tensor(ids[: whole * length]).view(whole, length)
    if seed:
        windows = windows[torch.randperm(whole, generator=torch.Generator().manual_seed(seed))]
    return _begun(windows[:count], bos)


def _begun(windows: Tensor, bos: int | None) -> Tensor:
    """The windows with a BOS token in front of each, where there is one."""
    return windows if bos is None else nn.functional.pad(windows, (1, 0), value=bos)


def _written(text: OwnText, count: int, length: int) -> Tensor:
    """(N, length) of what a model wrote in windows of that length."""
    if text.ids is None:
        raise BadValue(f"{text.name!r} is what a model writes itself.", "Take it in a study, or name another text.")
    if text.ids.shape[1] != length:
        raise BadValue(f"{text.name!r} was written in windows of {text.ids.shape[1]} tokens.", f"Not of {length}.")
    return torch.from_numpy(text.ids[:count]).long()
