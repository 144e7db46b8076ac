"""A text as windows of tokens."""

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..errors import BadValue, TextTooShort
from .texts import Text


def cut_windows(tokenizer: PreTrainedTokenizerBase, text: Text, count: int, length: int, seed: int = 0) -> Tensor:
    """(N, length) token ids, N ≤ count: disjoint windows of the text, tokenized once, no special token added.

    Seed 0 takes them from the text's start; any other seed draws them from all the text's windows. A shorter text
    gives the windows it has; TextTooShort where that is none.
    """
    if count < 1 or length < 2:
        raise BadValue(f"{count} windows of {length} tokens is not a sample.", "Give at least 1 window of 2 tokens.")
    ids = tokenizer(text.content, add_special_tokens=False, verbose=False).input_ids
    whole = len(ids) // length
    if whole == 0:
        raise TextTooShort(
            f"{text.name!r} has {len(ids)} tokens, a window has {length}.", "Give a longer text or a smaller --window."
        )
    windows = torch.tensor(ids[: whole * length]).view(whole, length)
    if seed:
        windows = windows[torch.randperm(whole, generator=torch.Generator().manual_seed(seed))]
    return windows[:count]
