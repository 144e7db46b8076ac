"""Seconds that matrix products take on the device at hand: measured when first asked for, kept in the store."""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..modules.product import ROWS, Product, layouts
from ..modules.running import Together
from ..store import Artefact, Key, Store

TURN = {1: 128, 8: 16, 256: 1}  # rows → how often: a chat turn reads 256 tokens and writes 128, a few of them 8 abreast
ROUNDS = {1: 7, 8: 3, 256: 2}  # of which the fastest counts: what else runs on the machine only adds
AT_LEAST = 0.004  # seconds of rounds, where they are short
BURST = {"cpu": 1e-4, "cuda": 2e-3}  # seconds that are timed in one
RING = 2**27  # bytes of different matrices that are read in turn, so that none is in a cache that would not hold it
MOST = 64  # and of no more matrices than that
EXACT = 128  # sizes above are measured at the next of 8 sizes per octave, and scaled
ALIGNED = 16


class Products:
    """What a product of (m, n) costs a chat turn in each layout, in seconds, on one device in one dtype.

    `working`: bytes of weights that a step reads; the matrices that are timed come from as large a working set, so that
    a small model's are timed in the cache and a large one's in memory.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, working: int, store: Store | None = None):
        self.device, self.dtype, self.store = device, dtype, store
        self.ring = min(RING, 1 << max(working, 1).bit_length())
        self.layouts = layouts(device.type, dtype)
        self._key = Key(
            "products",
            {
                "device": device_name(device),
                "dtype": str(dtype),
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "ring": self.ring,
                "turn": {str(k): v for k, v in TURN.items()},
            },
        )
        known = store.read(self._key) if store else None
        self._seconds: dict[str, float] = dict(known.facts["seconds"]) if known else {}
        self._fresh = False

    def best(self, m: int, n: int) -> tuple[str, float]:
        """The layout that is fastest for (m, n), and the seconds of a turn in it."""
        costs = {layout: self.product(m, n, layout) for layout in self.layouts}
        layout = min(costs, key=costs.get)
        return layout, costs[layout]

    def product(self, m: int, n: int, layout: str = ROWS) -> float:
        """Seconds of a turn in one layout."""
        near = coarse(m), coarse(n)
        scale = m * n / (near[0] * near[1])
        return scale * self._known(f"{layout} {near[0]} {near[1]}", lambda: self._time_product(*near, layout))

    def gather(self, m: int) -> float:
        """Seconds of a turn for joining two parts of m outputs and putting them in order."""
        near = coarse(m)
        return m / near * self._known(f"gather {near}", lambda: self._time_gather(near))

    def take(self) -> float:
        """Seconds of a turn that a site needs to take its part of a product that was made together."""
        return self._known("take", self._time_take)

    def keep(self) -> None:
        """Store what was measured."""
        if self.store and self._fresh:
            mine = self._seconds

            def merge(old: Artefact | None) -> Artefact:
                return Artefact(facts={"seconds": {**(old.facts["seconds"] if old else {}), **mine}})

            self.store.update(self._key, merge)
            self._fresh = False

    def _known(self, name: str, measure: Callable[[], float]) -> float:
        if name not in self._seconds:
            self._seconds[name], self._fresh = measure(), True
        return self._seconds[name]

    @torch.inference_mode()
    def _time_product(self, m: int, n: int, layout: str) -> float:
        size = m * n * self.dtype.itemsize
        weight = torch.full((m, n), 0.01, dtype=self.dtype, device=self.device)
        copies = min(MOST, max(1, self.ring // size))
        return self._turn([Product(weight.clone(), None, layout).call for _ in range(copies)], n)

    @torch.inference_mode()
    def _time_gather(self, m: int) -> float:
        order = torch.randperm(m, device=self.device)
        half = m // 2

        def gather(x: Tensor) -> Tensor:
            return torch.cat([x[..., :half], x[..., half:]], -1).index_select(-1, order)

        return self._turn([gather] * 16, m)

    @torch.inference_mode()
    def _time_take(self) -> float:
        pair = Together(Product(torch.ones(2, 1, dtype=self.dtype, device=self.device)), [slice(0, 1), slice(1, 2)])
        plain = pair.first.call

        def taking(x: Tensor) -> None:
            pair.take(x, 0)
            pair.take(x, 1)

        return max(0.0, (self._turn([taking] * 64, 1) - self._turn([plain] * 64, 1)) / 2)

    def _turn(self, calls: list[Callable[[Tensor], object]], n: int) -> float:
        """Seconds of a turn for one of these calls, which are made in turn."""
        total = 0.0
        for rows, often in TURN.items():
            x = torch.full((1, rows, n), 0.01, dtype=self.dtype, device=self.device)
            some = calls if rows < max(TURN) else calls[:1]
            self._wait()
            some[0](x)  # what a library prepares at its first call
            total += often * min(self._bursts(some, x, ROUNDS[rows]))
        return total

    def _bursts(self, calls: list[Callable[[Tensor], object]], x: Tensor, rounds: int) -> list[float]:
        """Seconds per call, burst by burst: so short that some of them have all cores to themselves."""
        seconds, spent, size = [], 0.0, 1
        for _ in range(10 * rounds):
            for i in range(0, len(calls), size):
                burst = calls[i : i + size]
                self._wait()
                began = time.perf_counter()
                for call in burst:
                    call(x)
                self._wait()
                took = time.perf_counter() - began
                seconds.append(took / len(burst))
                spent += took
            if size == 1:  # the first round tells how many make a burst, and does not count
                size = min(len(calls), max(1, round(BURST.get(self.device.type, 1e-3) / min(seconds))))
                seconds = seconds if size == 1 else []
            rounds -= 1
            if rounds <= 0 and spent >= AT_LEAST and seconds:
                break
        return seconds

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def coarse(size: int) -> int:
    """The size that is measured in its place: itself if small, else one of 8 per octave, aligned only where it is."""
    if size <= EXACT:
        return size
    step = 1 << (size.bit_length() - 4)
    near = round(size / step) * step
    return near if size % ALIGNED == 0 else near - 1


def device_name(device: torch.device) -> str:
    """What the device is called, so that what was measured on another is not taken for it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
