"""What the bundled model's first attention reads, exactly and without torch: its tokens' embeddings after a norm.

Nothing comes before them, so the statistics and keys of this one layer can be had with numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import safetensors

from ..calibration.texts import read_text
from ..models.where import DEMO, locate

TOKENS = 32 * 256  # of each text, from its start
_BLOCK = "model.layers.0."


@dataclass(frozen=True)
class FirstBlock:
    """The bundled model's first attention; weights as float64."""

    inputs: np.ndarray  # (words, d) what it reads where a token stands
    weights: dict[str, np.ndarray]  # q, k, v → (d_out, d)
    config: dict

    @cached_property
    def _tokenizer(self):
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(locate(DEMO).path / "tokenizer.json"))

    def tokens(self, text: str, most: int = TOKENS) -> np.ndarray:
        """The first token ids of a named text."""
        content = read_text(text).content[: 8 * most]  # more letters than `most` tokens have
        return np.array(self._tokenizer.encode(content, add_special_tokens=False).ids[:most])

    def gram(self, text: str, most: int = TOKENS) -> np.ndarray:
        """(d, d) second moment of the inputs over a text's first tokens."""
        counts = np.bincount(self.tokens(text, most), minlength=len(self.inputs)) * 1.0
        used = counts > 0
        return (self.inputs[used].T * counts[used]) @ self.inputs[used] / counts.sum()


@lru_cache(maxsize=1)
def first_block() -> FirstBlock:
    """The FirstBlock, read once."""
    folder = locate(DEMO)
    norm, embedding = _BLOCK + "input_layernorm.weight", "model.embed_tokens.weight"
    projections = {role: f"{_BLOCK}self_attn.{role}_proj.weight" for role in "qkv"}
    tensors = _read(folder.path, {norm, embedding, *projections.values()})
    rows = tensors[embedding]
    size = np.sqrt((rows**2).mean(1, keepdims=True) + folder.config["rms_norm_eps"])
    return FirstBlock(
        rows / size * tensors[norm], {role: tensors[name] for role, name in projections.items()}, folder.config
    )


def _read(folder, names: set[str]) -> dict[str, np.ndarray]:
    """Tensors by name, as float64; bfloat16, which numpy lacks, is the upper half of a float32."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in safetensors.deserialize(file.read_bytes()):
            if name in names:
                halves = np.frombuffer(tensor["data"], np.uint16).astype(np.uint32) << 16
                found[name] = halves.view(np.float32).reshape(tensor["shape"]).astype(np.float64)
    return found
