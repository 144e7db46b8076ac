"""Tiny random models of every family whose cache can hold latents, and of some whose cannot."""

import functools

import torch
import transformers

from lowrank_core.kv.methods import KV_METHODS, runs
from lowrank_core.kv.plan import groups_of
from lowrank_core.kv.serving import attach
from lowrank_core.models.attention import KVPlace, kv_places
from lowrank_core.models.latents import Projection, latent_modules, stacked
from lowrank_core.models.surgery import put, share_copy
from lowrank_core.modules.latent import indices

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "vocab_size": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SUPPORTED = {
    "llama": ("Llama", {}),
    "llama-bias": ("Llama", {"attention_bias": True}),
    "llama-heads": ("Llama", {"num_key_value_heads": 4}),  # keys and values are wider than what they are made from
    "llama-yarn": ("Llama", {"rope_parameters": YARN}),
    "llama-llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "smollm3": ("SmolLM3", {}),
    "gemma3": ("Gemma3", {"layer_types": ["full_attention"] * 3}),
    "gemma3-mixed": ("Gemma3", {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
    "olmo2": ("Olmo2", {}),
    "phi": ("Phi", {"num_key_value_heads": 4}),  # rotates half of each head
    "phi3": ("Phi3", {}),
    "glm": ("Glm", {}),  # rotates half of each head, neighbouring channels together
    "cohere": ("Cohere", {}),
    "stablelm": ("StableLm", {}),
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gpt2": ("GPT2", GPT2),
}
REFUSED = {
    "dynamic": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
    "sliding": ("Mistral", {"sliding_window": 8}),
    "mixed-heads": ("GPTNeoX", {"bos_token_id": 1, "eos_token_id": 2}),
}


@functools.cache
def model_of(family: str, dtype: torch.dtype = torch.float32):
    """A seeded random model with sharp logits; read-only by agreement."""
    name, more = {**SUPPORTED, **REFUSED}[family]
    config_name = "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config"
    settings = {**SIZES, **more}
    if name == "GPT2":
        settings = {k: v for k, v in settings.items() if k in (*GPT2, "vocab_size") or k.endswith("token_id")}
    config = getattr(transformers, config_name)(**settings)
    made = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = made(config)
        for n, p in model.named_parameters():
            if p.dim() == 2:
                p.data.normal_(0, 0.5 if "embed" in n or "wte" in n else 1.5 * min(p.shape) ** -0.5)
            elif n.endswith("bias"):
                p.data.normal_(0, 0.3)
    return model.to(dtype).eval().requires_grad_(False)


def places_of(model) -> tuple[KVPlace, ...]:
    """The blocks of a model whose cache can hold latents."""
    blocks = next(n for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3)
    return tuple(p for p in kv_places(model, tuple(f"{blocks}.{i}" for i in range(3))) if not p.why_not)


def random_projections(
    place: KVPlace, keep: float, joint: bool, heads: int | None = None, seed: int = 0
) -> tuple[Projection, ...]:
    """Oblique projections with a mean, of keys and values together or apart, of all heads or of groups; whole at 1."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    method = KV_METHODS["joint" if joint else "two-sided"]
    for rows in runs(method, place.keys, place.values, groups_of(place.heads, heads)).values():
        width = len(indices(rows))
        if keep == 1:
            made.append(Projection(rows, None, None, None))
            continue
        rank = max(1, int(keep * min(width, place.d_in)))
        turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
        scale = 0.5 + torch.rand(width, generator=generator, dtype=torch.float64)
        decoder, encoder = turn[:, :rank] / scale[:, None], turn[:, :rank].T * scale  # encoder decoder = I
        mean = 0.2 * torch.randn(width, generator=generator, dtype=torch.float64)
        made.append(Projection(rows, decoder, encoder, mean))
    return tuple(made)


def latent_copy(model, keep: float, joint: bool = True, heads: int | None = None):
    """A copy whose cache holds latents, by `random_projections`."""
    copy = share_copy(model)
    for place in places_of(model):
        projections = random_projections(place, keep, joint, heads, place.block)
        for path, module in latent_modules(model, place, projections).items():
            put(copy, path, module)
    return attach(copy)


def reference_copy(model, keep: float, joint: bool = True, heads: int | None = None):
    """The dense model whose keys and values are replaced, when they are made, by the same affine low-rank product."""
    copy = share_copy(model)
    for place in places_of(model):
        projections = random_projections(place, keep, joint, heads, place.block)
        weight, bias = stacked(model, place)
        whole, shift = torch.zeros(place.width, place.width).double(), torch.zeros(place.width).double()
        for p in projections:
            part = indices(p.rows)
            product = torch.eye(len(part)).double() if p.decoder is None else p.decoder @ p.encoder
            whole[part[:, None], part] = product
            shift[part] = 0 if p.mean is None else p.mean - product @ p.mean
        start = place.lead
        weight = torch.cat([weight[:start], whole @ weight[start:]])
        bias = torch.cat([bias[:start], whole @ bias[start:] + shift])
        pieces = [(place.key, slice(None))]
        if place.value:
            pieces = [(place.key, slice(0, place.keys)), (place.value, slice(place.keys, None))]
        for path, rows in pieces:
            linear = torch.nn.Linear(place.d_in, len(weight[rows])).to(model.dtype).requires_grad_(False)
            linear.weight.data, linear.bias.data = weight[rows].to(model.dtype), bias[rows].to(model.dtype)
            put(copy, path, linear)
    return copy
