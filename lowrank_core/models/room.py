"""How much memory there is, and whether a model fits (no torch here, but for a CUDA device)."""

import re
import shutil
from functools import lru_cache
from pathlib import Path

import psutil

from ..errors import ModelTooLarge
from ..settings import WORKING_ROOM, model_limit
from .suggestions import fitting

CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")  # where a container's own limit stands


def available(device: str = "cpu") -> int:
    """Bytes of memory that are free on a device: cpu, or cuda where torch has one."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:
        most, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return min(free, most - used + int(stat.get("inactive_file", 0)))  # cached files give way


@lru_cache
def slow_bfloat16() -> bool:
    """Whether this machine's CPU is known to compute bfloat16 slowly: an x86 without AVX-512, as most laptops have.

    On an AVX2 EPYC under torch 2.13, products of 512 rows with 2048 × 2048 took 6 times as long as in float32.
    """
    try:
        flags = re.search(r"^flags\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:  # not a Linux
        return False
    return flags is not None and "avx512bw" not in flags[1].split()


def in_dtype(weights: int, config: dict, dtype: str) -> int:
    """Bytes of weights in another dtype than they are stored in."""
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    width = {"float32": 4, "bfloat16": 2, "float16": 2}
    return weights * width.get(dtype, 4) // width.get(stored, 4)


def needed(weights: int) -> int:
    """Bytes that a model with so many bytes of weights takes while it is worked on."""
    return int(weights * WORKING_ROOM)


def check_room(name: str, weights: int, device: str = "cpu", limit: int | None = None) -> None:
    """Nothing; ModelTooLarge, with both numbers and a smaller suggestion, where the weights are too many bytes.

    `limit`: the most bytes of weights that are allowed at all; by default what LOWRANK_MODEL_LIMIT says.
    """
    limit = model_limit() if limit is None else limit
    free = available(device)
    hint = _smaller(min(free / WORKING_ROOM, weights, limit or weights))
    if limit is not None and weights > limit:
        raise ModelTooLarge(f"{name!r} has {size(weights)} of weights, the limit here is {size(limit)}.", hint)
    if needed(weights) > free:
        raise ModelTooLarge(
            f"{name!r} needs about {size(needed(weights))} of memory to work on, {size(free)} are free.", hint
        )


def check_disk(name: str, size_left: int, folder: Path) -> None:
    """Nothing; ModelTooLarge where the disk has no room for what is to be downloaded."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size_left > free:
        raise ModelTooLarge(
            f"{name!r} is a download of {size(size_left)}, the disk has {size(free)} free.", _smaller(free)
        )


def size(n: float) -> str:
    """A number of bytes as people read it: 13.1 MB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(n) >= limit:
            return f"{n / limit:.3g} {unit}"
    return f"{n:.0f} B"


def _smaller(room: float) -> str:
    """A hint that names the largest suggestion that fits."""
    found = fitting(int(room) - 1)
    return f"{found[-1].id} ({size(found[-1].bytes())}) would fit." if found else "`demo`, the bundled model, fits."
