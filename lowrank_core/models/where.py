"""Which folder a model name means, and the fingerprint of what lies in it (no torch here)."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import ModelNotFound, ModelUnsupported
from ..settings import DEMO_MODEL

DEMO = "demo"
COMPRESSED = "lowrank"  # the quant_method of our own folders
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # one of them is in every model folder
INDEX = "model.safetensors.index.json"
HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
BLOB = re.compile(r"[0-9a-f]{64}")  # the Hub's cache names large files by their SHA-256


@dataclass(frozen=True)
class HubId:
    """A model on the Hub: owner/name, and a branch, tag or commit of it."""

    id: str
    revision: str = "main"

    def __str__(self) -> str:
        return self.id if self.revision == "main" else f"{self.id}@{self.revision}"


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

    def dtype_on(self, device: str) -> str:
        """The dtype it is loaded in where nobody says: as stored, but the bundled model in float32 on a CPU.

        float16, which a CPU computes slowly, becomes bfloat16 there.
        """
        if device == "cpu" and self.name == DEMO:
            return "float32"
        stored = str(self.config.get("dtype") or self.config.get("torch_dtype") or "float32")
        return "bfloat16" if device == "cpu" and stored == "float16" else stored


def hub_id(name: str | Path) -> HubId | None:
    """The HubId of owner/name or owner/name@revision; None for `demo`, for a folder that is there, and for no id."""
    found = HUB_ID.fullmatch(str(name))
    if found is None or Path(name).exists():
        return None
    return HubId(found["id"], found["revision"] or "main")


def locate(name: str | Path) -> ModelFolder:
    """The ModelFolder of `demo`, of a local folder, or of a hub id that is in the Hub's cache, whole.

    ModelNotFound or ModelUnsupported otherwise; `models.hub.bring` downloads what is not in the cache.
    """
    if (hub := hub_id(name)) is not None:
        path = cached(hub)
        if path is None:
            raise ModelNotFound(f"{str(hub)!r} is not a folder, and not downloaded.", "Load it: that downloads it.")
    else:
        path = _path(name)
    return ModelFolder(str(name), path, checked_config(path, name), fingerprint(path))


def _path(name: str | Path) -> Path:
    try:
        path = DEMO_MODEL if str(name) == DEMO else Path(name).expanduser()
        (path / "config.json").read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: ~nobody has no home
        raise ModelNotFound(
            f"There is no model at {str(name)!r}.",
            "Give `demo`, a folder with config.json and safetensors weights, or a hub id: owner/name.",
        ) from None
    if not any(path.glob("*.safetensors")):
        read_config(path, name)
        raise ModelNotFound(
            f"The folder {str(name)!r} holds no safetensors weights.", "Save the model with safe serialization."
        )
    return path


def read_config(path: Path, name: str | Path) -> dict:
    """A folder's configuration; ModelNotFound where it is none of a model."""
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
    except ValueError:
        raise ModelNotFound(
            f"The config.json in {str(name)!r} is not readable JSON.", "Download or save the model again."
        ) from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelNotFound(
            f"The config.json in {str(name)!r} names no model_type.", "Is this a transformers model folder?"
        )
    return config


def checked_config(path: Path, name: str | Path) -> dict:
    """A folder's configuration; ModelUnsupported where the model is quantized by others."""
    config = read_config(path, name)
    quantization = config.get("quantization_config")
    if quantization and quantization.get("quant_method") != COMPRESSED:
        raise ModelUnsupported(
            f"This model is already quantized ({quantization.get('quant_method')}).", "Take the unquantized original."
        )
    return config


def cached(hub: HubId) -> Path | None:
    """The folder of a hub id in the Hub's cache; None where it, or any of its weights, is missing there."""
    from huggingface_hub import constants, try_to_load_from_cache

    def path_of(file: str) -> Path | None:
        found = try_to_load_from_cache(hub.id, file, cache_dir=constants.HF_HUB_CACHE, revision=hub.revision)
        return Path(found) if isinstance(found, str) else None

    config = path_of("config.json")
    if config is None:
        return None
    index = path_of(INDEX)
    try:
        shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index else {"model.safetensors"}
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    whole = all(path_of(shard) for shard in shards) and any(path_of(file) for file in TOKENIZERS)
    return config.parent if whole else None


def weight_bytes(path: Path) -> int:
    """Bytes of the safetensors files in a folder."""
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def fingerprint(path: Path) -> str:
    """Hash of a model folder's configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        if file.suffix == ".safetensors" or file.name in ("config.json", "tokenizer.json", "tokenizer.model"):
            digest.update(f"{file.name}{_hash_of(file)}".encode())
    return digest.hexdigest()[:16]


def _hash_of(file: Path) -> str:
    blob = file.resolve()
    if file.is_symlink() and blob.parent.name == "blobs" and BLOB.fullmatch(blob.name):
        return blob.name  # it was checked when it was downloaded
    stat = file.stat()
    return _file_hash(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_hash(file: Path, size: int, modified: int) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
