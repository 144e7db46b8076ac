"""Which folder a model name means, and the fingerprint of what lies in it (no torch here)."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import ModelNotFound, ModelUnsupported
from ..settings import DEMO_MODEL

DEMO = "demo"
COMPRESSED = "lowrank"  # the quant_method of our own folders


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds a model: the name it was asked by, its path, configuration and fingerprint."""

    name: str
    path: Path
    config: dict
    fingerprint: str

    @property
    def context(self) -> int:
        """Longest position the model was made for, in tokens."""
        return int(self.config.get("max_position_embeddings") or self.config.get("n_positions") or 2048)

    @property
    def compressed(self) -> dict | None:
        """The stored plan where the folder is one of ours."""
        quantization = self.config.get("quantization_config")
        return quantization if quantization and quantization.get("quant_method") == COMPRESSED else None


def locate(name: str | Path) -> ModelFolder:
    """The ModelFolder of `demo` or of a local folder; ModelNotFound or ModelUnsupported otherwise."""
    try:
        path = DEMO_MODEL if str(name) == DEMO else Path(name).expanduser()
        config = json.loads((path / "config.json").read_text("utf-8"))
    except (OSError, RuntimeError):  # RuntimeError: ~nobody has no home
        raise ModelNotFound(
            f"There is no model at {str(name)!r}.", "Give `demo`, or a folder with config.json and safetensors weights."
        ) from None
    except ValueError:
        raise ModelNotFound(
            f"The config.json in {str(name)!r} is not readable JSON.", "Download or save the model again."
        ) from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelNotFound(
            f"The config.json in {str(name)!r} names no model_type.", "Is this a transformers model folder?"
        )
    if not any(path.glob("*.safetensors")):
        raise ModelNotFound(
            f"The folder {str(name)!r} holds no safetensors weights.", "Save the model with safe serialization."
        )
    quantization = config.get("quantization_config")
    if quantization and quantization.get("quant_method") != COMPRESSED:
        raise ModelUnsupported(
            f"This model is already quantized ({quantization.get('quant_method')}).", "Take the unquantized original."
        )
    return ModelFolder(str(name), path, config, fingerprint(path))


def weight_bytes(path: Path) -> int:
    """Bytes of the safetensors files in a folder."""
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def fingerprint(path: Path) -> str:
    """Hash of a model folder's configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        if file.suffix == ".safetensors" or file.name in ("config.json", "tokenizer.json", "tokenizer.model"):
            stat = file.stat()
            digest.update(f"{file.name}{_file_hash(file, stat.st_size, stat.st_mtime_ns)}".encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=256)
def _file_hash(file: Path, size: int, modified: int) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
