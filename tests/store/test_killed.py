"""A process killed at any moment leaves a store that the next one uses, and the same results in the end."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from lowrank_core.jobs import finish
from lowrank_core.methods import METHODS
from lowrank_core.store import Artefact, Key, Store
from lowrank_core.study.read import open_study
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.units import units_of
from lowrank_core.types import Unit

PROBE, SOME, WINDOWS, WINDOW = 8, 3, 24, 32
KEEPS = (0.2, 0.5, 0.8)
KILLS = int(os.environ.get("LOWRANK_KILLS", "5"))  # 50 by hand: LOWRANK_KILLS=50 python -m pytest tests/store
BIG = Key("gram", {"big": True})


def work(model: str, text: str, cache: str, ready) -> None:
    """Calibrates, makes spectra with their prices, and measures a table, first on some windows and then on all, by the
    public steps, into the store at `cache`."""
    import warnings

    import torch

    from lowrank_core.study import steps

    warnings.simplefilter("error", UserWarning)  # a damaged artefact would be said here
    os.environ["LOWRANK_CACHE"] = cache
    torch.set_num_threads(1)
    ready.set()
    bench = steps.calibrate(model, text, windows=WINDOWS, window=WINDOW, probe_windows=PROBE, device="cpu")
    spectra = steps.factorize(bench, "asvd-i")
    units = units_of(bench.loaded.anatomy.sites, Recipe(method="asvd-i"))
    assert list(spectra) == [u.path for u in units]
    finish(bench.measure([(u, KEEPS[0]) for u in units], SOME))
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


def study_of(tiny, tiny_file, cache):
    recipe = Recipe(model=str(tiny), text=str(tiny_file), windows=WINDOWS, window=WINDOW, probe_windows=PROBE)
    return open_study(recipe, Store(cache))


def unit_of(site) -> Unit:
    return Unit((site,), "asvd-i", METHODS["asvd-i"].settle())


def results(tiny, tiny_file, cache) -> dict:
    """Everything that the runs stored: every point, and the digests of every statistic and every spectrum."""
    study = study_of(tiny, tiny_file, cache)
    found = {s.path: study.points(unit_of(s)) for s in study.body.sites}
    keys = [k for g in study.body.group_keys for k in (study.source.gram(g), study.source.channels(g))]
    keys += [study.source.spectrum(s.path, "asvd-i", {}) for s in study.body.sites]
    return found | {key.digest: study.store.read(key).checksum() for key in keys}


def usable(tiny, tiny_file, cache) -> int:
    """Whole points in a store that a kill left behind: all that is there can be read, and is what it says."""
    study = study_of(tiny, tiny_file, cache)
    for file in artefacts(cache):
        Artefact.decode(file)
    points = [p for s in (study.body.sites if study.body else ()) for p in study.points(unit_of(s)).values()]
    assert all(p.windows in (SOME, PROBE) and p.keep in KEEPS and np.isfinite(p.deltas).all() for p in points)
    return sum(p.windows for p in points)


def test_killed_at_any_moment_and_nothing_lost(processes, tiny, tiny_file, tmp_path) -> None:
    """At random shares of what there is to store, the first in the statistics and the last in the points."""
    calm = (str(tiny), str(tiny_file), str(tmp_path / "calm"))
    began = time.monotonic()
    assert run(processes, calm) == 0
    took = time.monotonic() - began
    total = len(artefacts(tmp_path / "calm"))
    assert total == 1 + 2 * 12 + 21 + 21  # anatomy, statistics of 12 groups, spectra and points of 21 sites

    rng, folders, kills = random.Random(0), [], 0
    wanted = results(tiny, tiny_file, tmp_path / "calm")
    while kills < KILLS:
        killed = tmp_path / f"killed-{len(folders)}"
        folders, kept, windows = [*folders, killed], {}, 0
        for share in sorted(rng.uniform(0.02, 0.98) for _ in range(min(5, KILLS - kills))):
            code = run(processes, (*calm[:2], str(killed)), int(share * total), rng.uniform(0, 0.1 * took))
            if code == 0:  # it was done before it was killed
                break
            assert code == -signal.SIGKILL
            kills += 1
            now = usable(tiny, tiny_file, killed)
            assert now >= windows and not [f for f in kept if not f.exists()]
            kept, windows = {f: f.stat().st_mtime_ns for f in artefacts(killed)}, now
        assert run(processes, (*calm[:2], str(killed))) == 0
        assert results(tiny, tiny_file, killed) == wanted
        again = [f for f, then in kept.items() if f.parent.name != "points" and f.stat().st_mtime_ns != then]
        assert not again  # what the last killed run left of statistics and spectra was not computed again
    points = [p for found in wanted.values() if isinstance(found, dict) for p in found.values()]
    assert len(points) == 21 * len(KEEPS) and {p.windows for p in points} == {PROBE}


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
