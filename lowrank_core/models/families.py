"""Model families as data: where the blocks are, which linear plays which role, and who shares an input."""

from collections.abc import Mapping
from dataclasses import dataclass


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
    norm: str | None = None  # path of the last norm below the causal model, whose `weight` scales its channels


LLAMA_ROLES = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
LLAMA_GROUPS = {"q": "qkv", "k": "qkv", "v": "qkv", "o": "o", "gate": "gate_up", "up": "gate_up", "down": "down"}

FAMILIES: tuple[Family, ...] = (
    Family("LLaMA", ("llama", "mistral", "qwen2", "qwen3", "smollm3"), "model.layers", LLAMA_ROLES, LLAMA_GROUPS,
           carries=("o", "down"), norm="model.norm"),
)


def family_of(model_type: str) -> Family | None:
    """The row of a model type, or None where the generic fallback must do."""
    return next((f for f in FAMILIES if model_type in f.model_types), None)


def carries(model_type: str) -> tuple[str, ...]:
    """The roles of a model type whose output is added to the residual stream as it is; none where it is unknown."""
    family = family_of(model_type)
    return family.carries if family else ()


def last_norm(model_type: str) -> str | None:
    """The path of a model type's last norm; None where it is unknown."""
    family = family_of(model_type)
    return family.norm if family else None
