"""A process killed at any moment leaves a store that the next one uses, and the same results in the end."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from lowrank_core.methods import METHODS
from lowrank_core.store import Artefact, Key, Store
from lowrank_core.study.read import open_study
from lowrank_core.study.recipe import Recipe
from lowrank_core.types import Unit

PROBE, WINDOWS, WINDOW = 8, 24, 32
KEEPS = (0.2, 0.5, 0.8)
BIG = Key("gram", {"big": True})


def work(model: str, text: str, cache: str, ready) -> None:
    """Calibrates and measures a table, by the public steps, into the store at `cache`."""
    import warnings

    import torch

    from lowrank_core.study import steps

    warnings.simplefilter("error", UserWarning)  # a damaged artefact would be said here
    os.environ["LOWRANK_CACHE"] = cache
    torch.set_num_threads(1)
    ready.set()
    bench = steps.calibrate(model, text, windows=WINDOWS, window=WINDOW, probe_windows=PROBE, device="cpu")
    steps.sensitivity(bench, "asvd-i", KEEPS)


@pytest.fixture(scope="module")
def processes():
    """A server that has imported the library and forks a fresh process for every run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lowrank_core.study.steps"])
    return context


def artefacts(folder) -> list[Path]:
    return [f for f in Path(folder).rglob("*") if f.suffix in (".json", ".safetensors")]


def run(processes, folders, kill_after: int | None = None, pause: float = 0.0) -> int:
    """Exit code of a run, killed a moment after the store held that many artefacts."""
    ready = processes.Event()
    worker = processes.Process(target=work, args=(*folders, ready))
    worker.start()
    assert ready.wait(120)
    if kill_after is not None:
        while worker.is_alive() and len(artefacts(folders[-1])) < kill_after:
            time.sleep(0.001)
        time.sleep(pause)
        worker.kill()
    worker.join(120)
    return worker.exitcode


def results(tiny, tiny_file, cache) -> dict:
    """Everything that the runs stored: every point, and the digest of every statistic."""
    study = open_study(
        Recipe(model=str(tiny), text=str(tiny_file), windows=WINDOWS, window=WINDOW, probe_windows=PROBE), Store(cache)
    )
    found = {s.path: study.points(Unit((s,), "asvd-i", METHODS["asvd-i"].settle())) for s in study.body.sites}
    for group in study.body.group_keys:
        found[group] = [
            study.store.read(key).checksum() for key in (study.source.gram(group), study.source.channels(group))
        ]
    return found


def test_killed_five_times_and_nothing_lost(processes, tiny, tiny_file, tmp_path) -> None:
    calm = (str(tiny), str(tiny_file), str(tmp_path / "calm"))
    assert run(processes, calm) == 0
    total = len(artefacts(tmp_path / "calm"))
    assert total == 1 + 2 * 12 + 21  # anatomy, statistics of 12 groups, points of 21 sites

    rng, killed = random.Random(0), tmp_path / "killed"
    folders, kept = (str(tiny), str(tiny_file), str(killed)), {}
    for share in (0.05, 0.3, 0.5, 0.65, 0.85):  # twice in the statistics, then in the points
        assert run(processes, folders, int(share * total), rng.uniform(0, 0.02)) == -signal.SIGKILL
        assert len(artefacts(killed)) < total
        gone = [f for f in kept if not f.exists()]
        assert not gone
        kept = {f: f.stat().st_mtime_ns for f in artefacts(killed)}
    assert run(processes, folders) == 0

    assert results(tiny, tiny_file, killed) == results(tiny, tiny_file, tmp_path / "calm")
    points = {k: v for k, v in results(tiny, tiny_file, killed).items() if "layers" in k}
    assert len(points) == 21 and {len(p) for p in points.values()} == {len(KEEPS)}
    again = [f for f, then in kept.items() if f.parent.name != "points" and f.stat().st_mtime_ns != then]
    assert not again  # what the last killed run left of the statistics was not computed again


def write_forever(folder: str, ready) -> None:
    store = Store(folder)
    for number in range(1_000_000):
        store.write(BIG, Artefact({"gram": np.full((400, 400), float(number))}))
        ready.set()


def test_killed_in_the_middle_of_writing(processes, tmp_path) -> None:
    rng, store = random.Random(1), Store(tmp_path)
    for _ in range(8):
        ready = processes.Event()
        writer = processes.Process(target=write_forever, args=(str(tmp_path), ready))
        writer.start()
        assert ready.wait(60)
        time.sleep(rng.uniform(0, 0.02))
        writer.kill()
        writer.join(60)
        array = store.read(BIG).arrays["gram"]  # warnings are errors: nothing may be damaged
        assert array.shape == (400, 400) and array.min() == array.max()
