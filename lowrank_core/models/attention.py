"""Where a model makes its keys and values, block by block; and why not, where a cache of latents would be wrong."""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ..errors import ModelUnsupported
from ..modules import LatentLinear
from .dense import sizes

APART = (("k_proj", "v_proj"), ("key", "value"))  # names of the two layers
FUSED = ("qkv_proj", "c_attn", "Wqkv")  # one layer: queries, then keys, then values
MIXED = ("query_key_value",)  # one layer, head by head
KEY_NORMS = ("k_norm", "k_layernorm")
ROTARY = "rotary_emb"
BY_POSITION = ("default", "linear", "llama3", "yarn", "proportional")  # rope types whose angle is the position's alone
HINT = "Its weights can be compressed all the same: give --ratio without --kv-ratio."


@dataclass(frozen=True)
class KVPlace:
    """One block's keys and values."""

    block: int
    attention: str  # path of the attention module
    key: str  # path of the layer that makes the keys; of a fused one, the values, too
    value: str | None  # path of the layer that makes the values
    keys: int  # d_k
    values: int  # d_v
    lead: int  # outputs of a fused layer that come before the keys
    d_in: int
    bias: bool = False  # whether its layers add one
    heads: int = 1  # of keys, and as many of values
    why_not: str = ""  # the reason why this block's cache stays as it is; empty where it need not

    @property
    def width(self) -> int:
        """Keys and values per token."""
        return self.keys + self.values

    @property
    def max_rank(self) -> int:
        return min(self.width, self.d_in)


def kv_places(model: nn.Module, block_paths: tuple[str, ...]) -> tuple[KVPlace, ...]:
    """A KVPlace for every block. ModelUnsupported, saying why, where no block's cache can hold latents."""
    if reason := _why_no_rope(model):
        raise unsupported(reason)
    layers = DynamicCache(config=model.config).layers
    found = tuple(_place(model, path, i, layers) for i, path in enumerate(block_paths))
    if all(p.why_not for p in found):
        raise unsupported(found[0].why_not)
    return found


def unsupported(reason: str) -> ModelUnsupported:
    """The error that says why a model's cache cannot hold latents."""
    return ModelUnsupported(f"The KV cache of this model cannot be kept as latents: {reason}.", HINT)


def attention_of(block: nn.Module) -> tuple[str, nn.Module] | None:
    """The name and module of a block's self-attention."""
    names = {n for pair in APART for n in pair} | set(FUSED) | set(MIXED)
    return next(((n, m) for n, m in block.named_modules() if n and names & set(dict(m.named_children()))), None)


def key_norm(attention: nn.Module) -> nn.Module | None:
    """The norm that keys pass before they are rotated."""
    return next((m for n in KEY_NORMS if isinstance(m := getattr(attention, n, None), nn.Module)), None)


def rotary_of(model: nn.Module) -> nn.Module | None:
    """What turns positions into cosines and sines; None where a model has no rotary positions."""
    return next((m for n, m in model.named_modules() if n.rpartition(".")[2] == ROTARY), None)


def _why_no_rope(model: nn.Module) -> str:
    """Why keys cannot be rotated anew when they are read; empty where they can."""
    rope = getattr(model.config, "rope_parameters", None) or {}
    for kind in rope.values() if all(isinstance(v, dict) for v in rope.values()) else (rope,):
        if (name := (kind or {}).get("rope_type", "default")) not in BY_POSITION:
            return f"its rope type {name!r} turns a key by more than its position"
    return ""


def _place(model: nn.Module, path: str, index: int, layers: list) -> KVPlace:
    found = attention_of(model.get_submodule(path))
    if found is None:
        return KVPlace(index, path, path, None, 0, 0, 0, 0, why_not="it has no layer that makes keys and values alone")
    name, attention = found
    here = f"{path}.{name}"
    children = dict(attention.named_children())
    kind = type(layers[index]) if index < len(layers) else DynamicLayer
    why = "" if kind is DynamicLayer else f"its cache is a {kind.__name__}, which keeps no more than a window"
    if getattr(attention, "is_kv_shared_layer", False):
        why = "it reads another block's keys and values"
    if pair := next((p for p in APART if set(p) <= set(children)), None):
        key, value = (children[n] for n in pair)
        (d_k, d_in), (d_v, _) = sizes(key), sizes(value)
        bias = key.bias is not None and value.bias is not None
        heads = d_k // (getattr(attention, "head_dim", 0) or d_k)
        return KVPlace(index, here, f"{here}.{pair[0]}", f"{here}.{pair[1]}", d_k, d_v, 0, d_in, bias, heads, why)
    if fused := next((n for n in FUSED if n in children), None):
        d_out, d_in = sizes(children[fused])
        heads = _kv_heads(model, attention)
        d_k = heads * attention.head_dim
        bias = children[fused].bias is not None
        return KVPlace(index, here, f"{here}.{fused}", None, d_k, d_k, d_out - 2 * d_k, d_in, bias, heads, why)
    why = "its queries, keys and values come from one layer, head by head"
    return KVPlace(index, here, here, None, 0, 0, 0, 0, why_not=why)


def _kv_heads(model: nn.Module, attention: nn.Module) -> int:
    """Key and value heads of a fused layer."""
    own = getattr(attention, "num_key_value_heads", None)
    config = model.config
    return own or getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def output_slices(place: KVPlace, key_output: Tensor, value_output: Tensor | None) -> tuple[Tensor, Tensor]:
    """(…, d_k) and (…, d_v): a block's keys and values from what its layers give."""
    if place.value is None:
        return key_output[..., place.lead :].split([place.keys, place.values], -1)
    return key_output, value_output


def latent_layers(attention: nn.Module) -> tuple[LatentLinear, ...]:
    """The layers of an attention module that make latents, keys first; empty where its cache is an ordinary one."""
    return tuple(m for m in attention.children() if isinstance(m, LatentLinear))
