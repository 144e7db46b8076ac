"""Load a model and its tokenizer: the bundled one, a folder's, or one from the Hub."""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..errors import BadValue, ModelCorrupt, ModelUnsupported, OutOfMemory
from ..jobs import Job, Progress, job
from ..settings import CPU_WINDOW, GPU_WINDOW
from .hub import bring
from .layout import stored_tensors
from .register import register
from .sites import Anatomy, anatomy
from .where import ModelFolder, locate

# transformers takes `PreTrainedModel.tie_weights` away while it builds a model and puts it back afterwards: of two
# threads that do so at once the later one puts back nothing, and no tied model of the process loads any more
_BUILDING = threading.Lock()
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _after_fork() -> None:
    """In a forked worker nobody else builds: other threads stayed behind."""
    global _BUILDING
    _BUILDING = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
    """The dtype asked for; else what `ModelFolder.dtype_on` says, and float16 for bfloat16 where a GPU lacks it."""
    if name in (None, "", "auto"):
        name = folder.dtype_on(device.type)
        if name == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            name = "float16"
    if name not in DTYPES:
        raise BadValue(f"There is no dtype {name!r}.", f"Give one of {', '.join(DTYPES)}.")
    return DTYPES[name]


@job
def load_model(
    name: str | Path,
    device: str | None = None,
    dtype: str | None = None,
    token: str | None = None,
    limit: int | None = None,
) -> Job[LoadedModel]:
    """The model at `demo`, in a folder (ours, compressed, too) or on the Hub, to be run: frozen, in evaluation mode.

    A hub id is owner/name or owner/name@revision; see `models.hub.bring` for its download, its token and the limit on
    its size in bytes. Raises ModelNotFound, ModelGated, ModelNotFetched, ModelTooLarge, ModelCorrupt, ModelUnsupported.
    """
    register()
    target = choose_device(device)
    folder = yield from bring.steps(name, token, str(target), limit, dtype)
    chosen = choose_dtype(dtype, folder, target)
    yield Progress("load", 0, 1, str(name))
    model, tokenizer = _read(folder, chosen)
    model = model.to(target).eval().requires_grad_(False)
    loaded = LoadedModel(folder, model, tokenizer, anatomy(model))
    yield Progress("load", 1, 1, str(name))
    return loaded


def _read(folder: ModelFolder, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer in a folder, or what is wrong with it."""
    name, again = folder.name, "Download or save the model again."
    try:
        with _BUILDING:
            model, report = AutoModelForCausalLM.from_pretrained(
                folder.path,
                dtype=dtype,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True)
    except SafetensorError as error:
        raise ModelCorrupt(f"The weights in {name!r} are cut short or damaged.", again) from error
    except (json.JSONDecodeError, OSError) as error:
        raise ModelCorrupt(f"The files in {name!r} cannot be read.", again) from error
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"There is no room for {name!r}.", "Load a smaller model, or in bfloat16.") from error
    except RuntimeError as error:  # shapes that do not fit the configuration
        raise ModelCorrupt(f"The weights in {name!r} do not fit its config.json.", again) from error
    except (ValueError, KeyError) as error:
        raise ModelUnsupported(
            f"transformers cannot load {name!r}.", f"It says: {str(error).splitlines()[0][:200]}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise ModelCorrupt(f"The weights in {name!r} lack {missing[0]}.", again)
    return model, tokenizer


def load_compressed(folder: str | Path, device: str | None = None, dtype: str | None = None) -> LoadedModel:
    """The compressed model in a folder that `save` wrote; BadValue where the folder holds an ordinary model."""
    if locate(folder).compressed is None:
        raise BadValue(f"The model in {str(folder)!r} is not compressed.", "Load it with load_model.")
    return load_model(folder, device, dtype)
