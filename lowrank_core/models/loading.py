"""Load a model and its tokenizer from a folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import BadValue, ModelCorrupt, ModelUnsupported, OutOfMemory
from ..settings import CPU_WINDOW, GPU_WINDOW
from .layout import stored_tensors
from .register import register
from .sites import Anatomy, anatomy
from .where import DEMO, ModelFolder, locate

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run, with everything a caption says about it."""

    folder: ModelFolder
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> str:
        return str(next(self.model.parameters()).dtype).removeprefix("torch.")

    @property
    def parameters(self) -> int:
        return sum(t.numel() for t in stored_tensors(self.model))

    @property
    def bos(self) -> int | None:
        """The token every window begins with, where the family needs one and the tokenizer has it."""
        return self.tokenizer.bos_token_id if self.anatomy.bos else None

    @property
    def window(self) -> int:
        """The default window: min(256, context) on a CPU, min(2048, context) elsewhere, in tokens."""
        return min(CPU_WINDOW if self.device.type == "cpu" else GPU_WINDOW, self.folder.context)


def choose_device(device: str | None) -> torch.device:
    """The device asked for, or CUDA where there is one; BadValue for one that is not there."""
    if device in (None, "", "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise BadValue(f"There is no device {device!r}.", "Give cpu or cuda.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BadValue("There is no CUDA device on this machine.", "Give cpu.")
    return chosen


def choose_dtype(name: str | None, folder: ModelFolder, device: torch.device) -> torch.dtype:
    """The dtype asked for; else float32 for the bundled model on a CPU, and the stored dtype for others."""
    if name in (None, "", "auto"):
        if folder.name == DEMO and device.type == "cpu":
            return torch.float32
        name = str(folder.config.get("dtype") or folder.config.get("torch_dtype") or "float32")
    if name not in DTYPES:
        raise BadValue(f"There is no dtype {name!r}.", f"Give one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def load_model(name: str | Path, device: str | None = None, dtype: str | None = None) -> LoadedModel:
    """The model at `demo` or in a folder (ours, compressed, too), in evaluation mode with frozen weights.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported.
    """
    register()
    folder = locate(name)
    target = choose_device(device)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder.path,
            dtype=choose_dtype(dtype, folder, target),
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)
    except SafetensorError as error:
        raise ModelCorrupt(
            f"The weights in {str(name)!r} are cut short or damaged.", "Download or save the model again."
        ) from error
    except (json.JSONDecodeError, OSError) as error:
        raise ModelCorrupt(
            f"The files in {str(name)!r} cannot be read.", "Download or save the model again."
        ) from error
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"There is no room for {str(name)!r}.", "Load a smaller model, or in bfloat16.") from error
    except RuntimeError as error:  # shapes that do not fit the configuration
        raise ModelCorrupt(
            f"The weights in {str(name)!r} do not fit its config.json.", "Download or save the model again."
        ) from error
    except (ValueError, KeyError) as error:
        raise ModelUnsupported(
            f"transformers cannot load {str(name)!r}.", f"It says: {str(error).splitlines()[0][:200]}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ModelCorrupt(f"The weights in {str(name)!r} lack {missing[0]}.", "Download or save the model again.")
    model = model.to(target).eval().requires_grad_(False)
    return LoadedModel(folder, model, tokenizer, anatomy(model))


def load_compressed(folder: str | Path, device: str | None = None, dtype: str | None = None) -> LoadedModel:
    """The compressed model in a folder that `save` wrote; BadValue where the folder holds an ordinary model."""
    if locate(folder).compressed is None:
        raise BadValue(f"The model in {str(folder)!r} is not compressed.", "Load it with load_model.")
    return load_model(folder, device, dtype)
