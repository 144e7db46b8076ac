"""Text that the model writes itself, for calibrating without any data.

Every token is drawn from the model's own distribution at temperature 1, as in LLM-QAT (arXiv 2305.17888): from BOS
where the model has one, else from a random single token. A loop of our own rather than `generate`: it can be stopped
between any two tokens, draws with a generator of its own, and no sampling setting of the model's folder changes it.
"""

import numpy as np
import torch
from torch import Tensor

from ..calibration.texts import Text, is_own, settled
from ..errors import NonFinite
from ..generation.decoder import Decoder
from ..jobs import Job, Progress
from ..models.loading import LoadedModel
from ..store import Artefact, Key, Store

BATCH = 32  # windows written side by side
TOKENS = 8192  # and no more tokens than that in the cache


def written(loaded: LoadedModel, store: Store, text: Text, key: Key) -> Job[Text]:
    """The text, with what the model writes of it there as ids; it is written once and kept under the key."""
    if not is_own(text):
        return text
    artefact = store.read(key)
    if artefact is None:
        spec = key.decided
        ids = yield from write(loaded, spec["windows"], spec["window"], spec["seed"])
        artefact = store.write(key, Artefact({"ids": ids.numpy().astype(np.int32)}))
    return settled(text, key.digest, artefact.arrays["ids"])


def write(loaded: LoadedModel, windows: int, window: int, seed: int = 0) -> Job[Tensor]:
    """(windows, window) token ids, each row a text of its own without the token it began with.

    A model that ends a document goes on with the next one. NonFinite where it gives no probabilities.
    *Limits*: the same on one kind of device and in one dtype only.
    """
    model, device = loaded.model, loaded.device
    generator = torch.Generator(device).manual_seed(seed)
    starts = _starts(loaded, windows, seed)
    vocabulary = len(loaded.tokenizer)
    rows, size = [], max(1, min(BATCH, TOKENS // window))
    for first in range(0, windows, size):
        step, tokens = starts[first : first + size, None].to(device), []
        decoder = Decoder(model, window)
        item = f"windows {first + 1} to {first + len(step)}"
        for t in range(window):
            chances = decoder.run(step)[:, :vocabulary].float().softmax(-1)
            if not torch.isfinite(chances).all():
                raise NonFinite("The model gives no probabilities for its own text.", "Try float32 or bfloat16.")
            step = torch.multinomial(chances, 1, generator=generator)
            tokens.append(step)
            yield Progress("own text", first * window + (t + 1) * len(step), windows * window, item)
        rows.append(torch.cat(tokens, 1).cpu())
    return torch.cat(rows)


def _starts(loaded: LoadedModel, windows: int, seed: int) -> Tensor:
    """(windows,) the token each row begins with."""
    tokenizer = loaded.tokenizer
    if tokenizer.bos_token_id is not None:
        return torch.full((windows,), tokenizer.bos_token_id)
    special = set(tokenizer.all_special_ids)
    plain = torch.tensor([i for i in range(len(tokenizer)) if i not in special])
    return plain[torch.randint(len(plain), (windows,), generator=torch.Generator().manual_seed(seed))]
