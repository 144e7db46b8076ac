"""Seconds that matrix products take on the device at hand: measured when first asked for, kept in the store.

On a CPU one thread is timed by its own clock, which stops while something else runs: a busy machine's wall clock tells
more about what else it does than about a product. Where several threads share the memory, fewer bytes count for more
than is measured here, not for less. On a GPU the calls are recorded and replayed, as decoding replays them: called one
by one, a small product takes as long as Python takes to ask for it.
"""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..modules.product import ROWS, Product, layouts
from ..modules.running import Together
from ..store import Artefact, Key, Store
from .graph import recorded

Call = Callable[[Tensor], object]

TURN = {1: 128, 8: 16, 64: 4}  # rows → how often: a chat turn writes 128 tokens, some of them 8 abreast, and reads 256
SPAN = {"cpu": 1e-4, "cuda": 2e-3}  # seconds of calls that are timed in one
FLOOR, AGREE = 3, 0.03  # the fastest time counts once so many are as fast as it, up to this share
PATIENCE = 0.1  # seconds, after which it counts anyhow
RING = 2**26  # bytes of different matrices that are read in turn, so that none is in a cache that would not hold it
MOST = 16  # and of no more matrices than that
EXACT = 32  # sizes above are measured at the nearest of 4 per octave, and scaled
ALIGNED = 16
LEAST_CALLS, REPLAYS = 32, 10  # on a GPU: calls in a graph, and how often it is replayed


class Products:
    """What a product of (m, n) costs a chat turn in each layout, in seconds, on one device in one dtype.

    `working`: bytes of weights that a step reads; the matrices that are timed come from as large a working set, so that
    a small model's are timed in the cache and a large one's in memory.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, working: int, store: Store | None = None):
        self.device, self.dtype, self.store = device, dtype, store
        self.ring = min(RING, 1 << max(working, 1).bit_length())
        self.layouts = layouts(device.type, dtype)
        self._clock = time.thread_time if device.type == "cpu" else time.perf_counter
        self._key = Key(
            "products",
            {
                "device": device_name(device),
                "dtype": str(dtype),
                "torch": torch.__version__,
                "ring": self.ring,
                "turn": {str(k): v for k, v in TURN.items()},
                "timed": "replayed" if device.type == "cuda" else "called",
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
        """Seconds of a turn for a site to take its part of a product that was made together."""
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
        return self._turn(self._rung(m, n, layout), n)

    def _time_gather(self, m: int) -> float:
        order = torch.randperm(m, device=self.device)
        half = m // 2

        def gather(x: Tensor) -> Tensor:
            return torch.cat([x[..., :half], x[..., half:]], -1).index_select(-1, order)

        return self._turn([gather] * 16, m)

    def _time_take(self) -> float:
        pair = Together(Product(torch.ones(2, 1, dtype=self.dtype, device=self.device)), [slice(0, 1), slice(1, 2)])
        plain = pair.first.call

        def taking(x: Tensor) -> None:
            pair.take(x, 0)
            pair.take(x, 1)

        return max(0.0, (self._turn([taking] * 64, 1) - self._turn([plain] * 64, 1)) / 2)

    @torch.inference_mode()
    def _turn(self, calls: list[Call], n: int) -> float:
        """Seconds of a turn of one of these calls, which are made one after the other."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return sum(often * self._fastest(calls, n, rows) for rows, often in TURN.items())
        finally:
            torch.set_num_threads(threads)

    def _fastest(self, calls: list[Call], n: int, rows: int) -> float:
        """Seconds that a call takes with this many rows at the best of times: what else runs on a machine only adds."""
        x = torch.full((1, rows, n), 0.01, dtype=self.dtype, device=self.device)
        if self.device.type == "cuda":
            return self._time_replayed(calls, x)
        self._time(calls, x, 0, 1)  # what a library prepares at its first call
        count = max(1, round(SPAN.get(self.device.type, 1e-3) / self._time(calls, x, 1, 1)))
        seconds, spent = [], 0.0
        while spent < PATIENCE:
            seconds.append(self._time(calls, x, len(seconds) * count, count))
            spent += seconds[-1] * count
            best = sorted(seconds)[:FLOOR]
            if len(seconds) > FLOOR and best[-1] <= (1 + AGREE) * best[0]:
                break
        return min(seconds)

    def _time(self, calls: list[Call], x: Tensor, start: int, count: int) -> float:
        """Seconds of one of `count` calls."""
        chosen = [calls[i % len(calls)] for i in range(start, start + count)]
        self._wait()
        began = self._clock()
        for call in chosen:
            call(x)
        self._wait()
        return (self._clock() - began) / count

    def _time_replayed(self, calls: list[Call], x: Tensor) -> float:
        """Seconds of one of the calls, all of them recorded as one graph."""
        often = -(-LEAST_CALLS // len(calls))

        def step() -> None:
            for call in calls * often:
                call(x)

        replay = recorded(step)
        replay()
        self._wait()
        began = self._clock()
        for _ in range(REPLAYS):
            replay()
        self._wait()
        return (self._clock() - began) / (REPLAYS * often * len(calls))

    def _rung(self, m: int, n: int, layout: str) -> list[Call]:
        """Products of (m, n), as many as the ring holds."""
        weight = torch.full((m, n), 0.01, dtype=self.dtype, device=self.device)
        copies = min(MOST, max(1, self.ring // (m * n * self.dtype.itemsize)))
        return [Product(weight.clone(), None, layout).call for _ in range(copies)]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def coarse(size: int) -> int:
    """The size that is measured in its place: itself if small, else one of 4 per octave, aligned only where it is."""
    if size <= EXACT:
        return size
    step = 1 << (size.bit_length() - 3)
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
