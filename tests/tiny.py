"""Builders shared by the tests: a random LLaMA small enough to run in milliseconds, and text to feed it."""

import functools
import random
from pathlib import Path

from lowrank_core.demo import world

TOKENIZER_TEXT = (
    "The little fox lived by the river. What is the colour of the sky? The sky is blue. One day the fox found a red "
    "boat, and she asked the old owl for help. Thank you, said the fox. How many legs does a spider have? Eight. "
)


@functools.cache
def tiny_text(conversations: int = 80, seed: int = 1) -> str:
    """A few thousand words of the simple world, the same at every call."""
    rng = random.Random(seed)
    return "\n".join(m["content"] for _ in range(conversations) for m in world.conversation(rng))


def tiny_text_file(folder: Path, name: str = "tiny.txt") -> Path:
    """`tiny_text()` as a UTF-8 file."""
    path = Path(folder) / name
    path.write_text(tiny_text(), "utf-8")
    return path


def tiny_config(**config):
    """A LLaMA configuration: grouped-query attention, tied embeddings, 3 blocks, context 64."""
    from transformers import LlamaConfig

    return LlamaConfig(
        **{
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "vocab_size": 384,
            "tie_word_embeddings": True,
            **config,
        }
    )


def scale_weights(model, seed: int = 0) -> None:
    """Random weights that make a model say something: unit-gain linears, sharp logits, one loud channel per norm."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        with torch.no_grad():
            if p.dim() == 2:
                spread = 0.5 if "embed" in name else 1.5 * p.shape[1] ** -0.5
                p.copy_(torch.randn(p.shape, generator=generator) * spread)
            elif "norm" in name and "weight" in name:
                p[3] = 4.0


def tiny_llama(folder: Path | str, shard: str = "5GB", **config) -> Path:
    """Save a seeded random LLaMA and a BPE tokenizer with a chat template to `folder`; `shard` splits the weights."""
    import torch
    from transformers import LlamaForCausalLM

    from lowrank_core.demo.tokenizer import train_tokenizer

    folder = Path(folder)
    settings = tiny_config(**config)
    tokenizer = train_tokenizer([TOKENIZER_TEXT], settings.vocab_size, settings.max_position_embeddings)
    settings.bos_token_id, settings.eos_token_id, settings.pad_token_id = (
        None,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(settings)
    scale_weights(model)
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder
