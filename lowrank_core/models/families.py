"""Model families as data: where the blocks are, which linear plays which role, and who shares an input."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Family:
    """One architecture's names, relative to a block."""

    name: str
    model_types: tuple[str, ...]  # config.model_type
    blocks: str  # path of the list of blocks below the causal model
    roles: Mapping[str, str]  # path below a block → role
    groups: Mapping[str, str]  # role → name of its input group
    bos: bool = False  # whether every window needs a BOS token in front
    carries: tuple[str, ...] = ()  # roles whose output is added to the residual stream as it is
    norm: str | None = None  # path of the last norm below the causal model, whose gains scale its channels
    norm_plus: float = 0.0  # what that norm adds to its `weight` to make the gains
    where: Mapping[str, bool] = field(default_factory=dict)  # configuration under which `carries` and `norm` are so


LLAMA_ROLES = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
GROUPS = {"q": "qkv", "k": "qkv", "v": "qkv", "o": "o", "gate": "gate_up", "up": "gate_up", "down": "down"}
FUSED = {"qkv": "qkv", "o": "o", "gate_up": "gate_up", "down": "down"}  # one linear for what others have as several
PLAIN = {"qkv": "qkv", "o": "o", "up": "up", "down": "down"}  # the same, without a gate
ADDED = ("o", "down")


def _neox(attention: str) -> dict[str, str]:
    """The roles of those who name their layers as Megatron did, by where their attention is."""
    names = {"query_key_value": "qkv", "dense": "o"}
    return {
        **{f"{attention}.{name}": role for name, role in names.items()},
        "mlp.dense_h_to_4h": "up",
        "mlp.dense_4h_to_h": "down",
    }


FAMILIES: tuple[Family, ...] = (
    Family("LLaMA", ("llama",), "model.layers", LLAMA_ROLES, GROUPS, carries=ADDED, norm="model.norm"),
    Family("Mistral", ("mistral", "mixtral"), "model.layers", LLAMA_ROLES, GROUPS, carries=ADDED, norm="model.norm"),
    Family("Qwen2", ("qwen2", "qwen2_moe"), "model.layers", LLAMA_ROLES, GROUPS, carries=ADDED, norm="model.norm"),
    Family("Qwen3", ("qwen3", "qwen3_moe"), "model.layers", LLAMA_ROLES, GROUPS, carries=ADDED, norm="model.norm"),
    Family("SmolLM3", ("smollm3",), "model.layers", LLAMA_ROLES, GROUPS, carries=ADDED, norm="model.norm"),
    # what attention and MLP give passes a norm of its own before it is added
    Family("OLMo2", ("olmo2",), "model.layers", LLAMA_ROLES, GROUPS, norm="model.norm"),
    Family("Gemma 2", ("gemma2",), "model.layers", LLAMA_ROLES, GROUPS, bos=True, norm="model.norm", norm_plus=1.0),
    Family(
        "Gemma 3", ("gemma3_text",), "model.layers", LLAMA_ROLES, GROUPS, bos=True, norm="model.norm", norm_plus=1.0
    ),
    Family(
        "Phi-3",
        ("phi3",),
        "model.layers",
        {
            "self_attn.qkv_proj": "qkv",
            "self_attn.o_proj": "o",
            "mlp.gate_up_proj": "gate_up",
            "mlp.down_proj": "down",
        },
        FUSED,
        carries=ADDED,
        norm="model.norm",
    ),
    Family(
        "GPT-NeoX",
        ("gpt_neox",),
        "gpt_neox.layers",
        _neox("attention"),
        PLAIN,
        carries=ADDED,
        norm="gpt_neox.final_layer_norm",
    ),
    Family(
        "OPT",
        ("opt",),
        "model.decoder.layers",
        {
            "self_attn.q_proj": "q",
            "self_attn.k_proj": "k",
            "self_attn.v_proj": "v",
            "self_attn.out_proj": "o",
            "fc1": "up",
            "fc2": "down",
        },
        {**GROUPS, "up": "up"},
        carries=ADDED,
        norm="model.decoder.final_layer_norm",
        where={"do_layer_norm_before": True},  # opt-350m norms the stream after it was added to, and not in the end
    ),
    Family(
        "GPT-2",
        ("gpt2",),
        "transformer.h",
        {"attn.c_attn": "qkv", "attn.c_proj": "o", "mlp.c_fc": "up", "mlp.c_proj": "down"},
        PLAIN,
        carries=ADDED,
        norm="transformer.ln_f",
    ),
    Family(
        "BLOOM",
        ("bloom",),
        "transformer.h",
        _neox("self_attention"),
        PLAIN,
        carries=ADDED,
        norm="transformer.ln_f",
        where={"apply_residual_connection_post_layernorm": False},
    ),
    # attention and MLP read one input in some Falcons and two in others: nothing is shared; and the MLP's output is
    # changed in place, so that nothing is known of the stream beside it
    Family("Falcon", ("falcon",), "transformer.h", _neox("self_attention"), PLAIN, norm="transformer.ln_f"),
)


def family_of(model_type: str) -> Family | None:
    """The row of a model type, or None where the generic fallback must do."""
    return next((f for f in FAMILIES if model_type in f.model_types), None)
