"""What a call needs in memory beyond what was there."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch


def peak_beyond(call: Callable[[], None], device: torch.device) -> int:
    """Bytes that were in use at the highest moment of a call beyond those before it; 0 where the system does not tell.

    *Limits*: on a CPU that is resident memory, told by Linux; memory that was free already is not seen.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        forget_peak()
        before = resident("VmRSS")
    except (OSError, AttributeError):
        call()
        return 0
    call()
    return max(0, resident("VmHWM") - before)


def forget_peak() -> None:
    """Give back what is free, and set the kernel's mark of the highest memory to what is left. Linux only."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def resident(field: str) -> int:
    """Bytes of a field of this process's status."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field + ":"))
    return int(line.split()[1]) * 1024
