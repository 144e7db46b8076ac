"""The shapes of random models, and the laps of `bench decode` as lines of a table (no torch here)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import BadValue

if TYPE_CHECKING:
    from .decode import Lap

RANDOM = "random:"
SHAPES: dict[str, dict[str, int]] = {
    "tinyllama": {  # 1.1 B parameters
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
        "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 4096,
    },
    "tinyllama-4": {  # four of its 22 blocks, the head in proportion: the same ratios of times, on a small machine
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 4, "num_attention_heads": 32,
        "num_key_value_heads": 4, "vocab_size": 5818, "max_position_embeddings": 4096,
    },
    "7b": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096,
    },
    "tiny": {  # for trying the benchmark itself
        "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 4096,
    },
}  # fmt: skip
COLUMNS = (
    "dtype", "ratio", "batch", "context", "tokens/s", "× dense", "allowed", "share", "bandwidth", "prompt tokens/s",
    "× dense", "MB read", "peak MB",
)  # fmt: skip


def is_random(model: str) -> bool:
    """Whether a name means a model of random weights."""
    return model.startswith(RANDOM)


def shape(model: str) -> dict[str, int]:
    """The sizes that a random model's name means; BadValue where there is no such shape."""
    name = model.removeprefix(RANDOM)
    if name not in SHAPES:
        raise BadValue(f"There is no shape {name!r}.", f"Give {RANDOM} and one of {', '.join(SHAPES)}.")
    return SHAPES[name]


def lines(laps: Sequence["Lap"]) -> list[tuple[str, ...]]:
    """A line for every compressed model at every batch and context, the dense one beside it in the same line."""
    return [_line(dense, lap) for dense, lap in zip(laps[:-1], laps[1:], strict=True) if lap.compressed]


def _line(dense: "Lap", lap: "Lap") -> tuple[str, ...]:
    a, b = dense.speed, lap.speed
    times = b.decode_times
    prompt = ("–", "–")
    if b.prefill is not None:
        prompt = (f"{a.prefill.median:.0f} → {b.prefill.median:.0f}", f"{b.prefill_times.median:.2f}")
    return (
        b.dtype,
        f"{lap.ratio:g}",
        str(b.batch),
        str(b.context),
        f"{_rate(a.decode.median)} → {_rate(b.decode.median)}",
        f"{times.median:.2f} ({times.low:.2f} to {times.high:.2f})",
        f"{b.limit:.2f}",
        f"{b.limit_share:.0%}",
        f"{a.bandwidth_share:.0%} → {b.bandwidth_share:.0%}",
        *prompt,
        f"{a.bytes_per_token / 1e6:,.0f} → {b.bytes_per_token / 1e6:,.0f}",
        f"{a.peak_bytes / 1e6:,.0f} → {b.peak_bytes / 1e6:,.0f}",
    )


def _rate(tokens: float) -> str:
    return f"{tokens:.2f}" if tokens < 100 else f"{tokens:.0f}"


def caption(laps: Sequence["Lap"]) -> str:
    """How the figures came about."""
    if not laps:
        return ""
    one = laps[0].speed
    copied = [lap.speed.bandwidth / 1e9 for lap in laps]
    return (
        f"Medians of {one.repeats} rounds of {one.tokens} tokens, dense → compressed, in turns (and the slowest "
        f"and fastest round), on {one.device} with {one.threads} threads, factors stored {laps[0].storage}. Ratio: "
        "the share of the layers' parameters removed. Allowed: times dense by the bytes that are read, the head's and "
        "the keys' and values' among them, which are not compressed; share: of that. MB read: for one step. Bandwidth: "
        f"of these bytes, against a plain copy in the same run ({min(copied):.1f} to {max(copied):.1f} GB/s, read and "
        "written). Prompt: one, as long as the context."
    )


def markdown(laps: Sequence["Lap"]) -> str:
    """The table under its caption, as Markdown."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *lines(laps)]
    return f"{caption(laps)}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)
