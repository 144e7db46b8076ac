"""Lesson 7: the cache of keys and values as latents, on the bundled model's first attention."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .base import Control, Layers, Lesson, percent
from .first_block import first_block

TEXT, TOKENS = "demo-test", 512
BEFORE, AFTER, VALUES = "keys, before the rotation", "keys, after the rotation", "values"


@dataclass(frozen=True)
class Latents:
    """What a cache of r numbers per token loses, at every r."""

    lost: dict[str, np.ndarray]  # what is cached → (width + 1,) share of its root mean square
    rank: int
    stored: int  # numbers per token and layer of the full cache

    @property
    def caption(self) -> str:
        before, after, values = (rows[self.rank] for rows in self.lost.values())
        return (
            f"Rank {self.rank}: {2 * self.rank} numbers per token and layer instead of {self.stored}. Lost: "
            f"{percent(before)} of the keys cut before the rotation, {percent(after)} after it, {percent(values)} of "
            f"the values. Measured on block 0 of the bundled model, {TOKENS} tokens."
        )


def rotated(keys: np.ndarray, base: float) -> np.ndarray:
    """Keys (tokens, heads, d) turned by their position, as rotary embeddings do."""
    tokens, _, d = keys.shape
    angle = np.arange(tokens)[:, None] * base ** (-np.arange(0, d, 2) / d)  # (tokens, d / 2)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    first, second = keys[..., : d // 2], keys[..., d // 2 :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def losses(rows: np.ndarray) -> np.ndarray:
    """(width + 1,) what the best basis of every size loses of rows (tokens, width): the tail of their spectrum."""
    energy = np.maximum(np.linalg.eigvalsh(rows.T @ rows), 0)  # rising
    return np.sqrt(np.concatenate([[0.0], np.cumsum(energy)])[::-1] / energy.sum())


@lru_cache(maxsize=1)
def cached() -> dict[str, np.ndarray]:
    """What each kind of latent loses, at every rank."""
    block = first_block()
    inputs = block.inputs[block.tokens(TEXT, TOKENS)]
    keys, values = (inputs @ block.weights[role].T for role in "kv")  # (tokens, width)
    heads = keys.reshape(len(keys), block.config["num_key_value_heads"], -1)
    turned = rotated(heads, block.config["rope_parameters"]["rope_theta"]).reshape(keys.shape)
    return {BEFORE: losses(keys), AFTER: losses(turned), VALUES: losses(values)}


def picture(layers: Layers, choice: str | None, rank: float) -> Latents:
    found = cached()
    return Latents(found, int(rank), 2 * width())


def width() -> int:
    """Numbers in the keys of one token, in one layer."""
    return len(cached()[VALUES]) - 1


def control(choice: str | None) -> Control:
    return Control("Rank of the latents", 1, width(), 1, width(), width() // 4)


def figures(layers: Layers, choice: str | None) -> dict[str, str]:
    rank = int(control(None).told)
    found = cached()
    return {
        "rank": f"{rank}",
        "width": f"{width()}",
        "before": percent(found[BEFORE][rank]),
        "after": percent(found[AFTER][rank]),
        "values": percent(found[VALUES][rank]),
    }


LESSON = Lesson("7-cache", control, picture, figures)
