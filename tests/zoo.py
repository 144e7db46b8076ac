"""A tiny model of every family, built from its configuration: two blocks, seeded weights, a tokenizer."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .tiny import TOKENIZER_TEXT, scale_weights

CONTEXT = 64
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": CONTEXT}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
GPT2_SIZES = {"n_embd": 32, "n_inner": 48, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
QKV = ("q", "k", "v", "o")
GATED = (*QKV, "gate", "up", "down")
FUSED = ("qkv", "o", "up", "down")


@dataclass(frozen=True)
class Kind:
    """One tiny model: its configuration, and what is to be found in a block of it."""

    config: dict[str, Any]
    roles: tuple[str, ...]  # of a block's sites, in the order of the data flow
    mixture: bool = False  # of experts, which stay dense
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def everything(self) -> dict[str, Any]:
        return {**self.config, **self.more}


KINDS: dict[str, Kind] = {
    "llama": Kind(GROUPED, GATED),
    "mistral": Kind(GROUPED, GATED, more={"sliding_window": 8}),
    "qwen2": Kind({**SIZES, "num_key_value_heads": 2}, GATED, more={"tie_word_embeddings": True}),
    "qwen3": Kind(GROUPED, GATED),
    "smollm3": Kind(GROUPED, GATED),
    "olmo2": Kind(GROUPED, GATED),
    "gemma2": Kind(GROUPED, GATED, more={"sliding_window": 8, "query_pre_attn_scalar": 8}),
    "gemma3_text": Kind(GROUPED, GATED, more={"sliding_window": 8, "query_pre_attn_scalar": 8}),
    "phi3": Kind({**SIZES, "num_key_value_heads": 2}, ("qkv", "o", "gate_up", "down")),
    "gpt_neox": Kind(SIZES, FUSED),
    "opt": Kind({**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}, (*QKV, "up", "down")),
    "gpt2": Kind(GPT2_SIZES, FUSED),
    "bloom": Kind({"hidden_size": 32, "n_layer": 2, "n_head": 4}, FUSED),
    "falcon": Kind({**SIZES, "ffn_hidden_size": 48}, FUSED),
    "mixtral": Kind({**GROUPED, "num_local_experts": 4}, QKV, mixture=True),
    "qwen2_moe": Kind({**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                       "shared_expert_intermediate_size": 16}, QKV, mixture=True),
    "qwen3_moe": Kind({**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
                      QKV, mixture=True),
    # without a row of its own: the generic fallback
    "stablelm": Kind({**SIZES, "num_key_value_heads": 2},
                     ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
    "gptj": Kind({**GPT2_SIZES, "rotary_dim": 4}, ("k_proj", "v_proj", "q_proj", "out_proj", "fc_in", "fc_out")),
}  # fmt: skip


@functools.cache
def tokenizer():
    """A BPE tokenizer that has a BOS token."""
    from lowrank_core.demo.tokenizer import END_OF_TEXT, train_tokenizer

    made = train_tokenizer([TOKENIZER_TEXT], 384, CONTEXT)
    made.bos_token = END_OF_TEXT
    return made


def tiny_of(model_type: str, folder: Path, change: Callable | None = None, **config) -> Path:
    """Save the tiny model of a type to a folder; `change` is given the model before that."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    settings = AutoConfig.for_model(
        model_type, **{"vocab_size": len(tokenizer()), **ids, **KINDS[model_type].everything, **config}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(settings)
    scale_weights(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():  # no two norms and no two biases alike
            if p.dim() == 1:
                p += 0.2 * torch.randn(p.shape, generator=generator)
    if change is not None:
        change(model)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
