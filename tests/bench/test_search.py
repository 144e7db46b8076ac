"""`bench calibration` and `bench slider`: what they count is what ran, and what they say is said once."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lowrank_core.bench.calibration import Search, calibration, halves, spearman
from lowrank_core.bench.slider import LEAST, MOST, slider
from lowrank_core.cli.app import main
from lowrank_core.errors import BadValue
from lowrank_core.evaluation.sensitivity import Probe
from lowrank_core.study.recipe import Recipe


@pytest.fixture
def recipe(tiny, tiny_file) -> Recipe:
    return Recipe(model=str(tiny), text=str(tiny_file), windows=8, window=24, probe_windows=4, allocator="strs")


@pytest.fixture
def search(recipe, tiny_file) -> Search:
    return Search(recipe, str(tiny_file), (0.3, 0.5), ("strs", "waterfill"), 3, 4)


def test_a_search_three_ways(search, loaded, monkeypatch) -> None:
    """What it counts is what ran; plans are made of one run's points, and measured on held-out text."""
    ran, measure = [], Probe.measure

    def counting(self, unit, made, first=0, last=None):
        ran.append((unit, len(made), last - first))
        return measure(self, unit, made, first, last)

    monkeypatch.setattr(Probe, "measure", counting)
    found = calibration(search, loaded=loaded)
    progressive, exact, brute = found.costs
    assert (progressive.way, exact.way, brute.way) == ("progressive", "exact", "brute")
    assert (exact.sites, exact.points, exact.forwards) == (21, 189, 4 + 4 * 189)
    assert (brute.sites, brute.points, brute.forwards, brute.tokens) == (3, 27, 4 + 4 * 27, 24 * 4 * 28)
    assert exact.tokens == pytest.approx(24 * 4 * (1 + 9 * 7 * (1 + 2 / 3 + 1 / 3)))
    assert found.largest_difference < 1e-5 and found.time_ratio > 0 and 0 < exact.seconds_factoring < exact.seconds
    settled, table = ran[:-21], ran[-21:]  # one progressive run, then the table once: the other plans are served
    assert all(n == 9 and w == 4 for _, n, w in table) and all(n == 1 for _, n, _ in settled)
    tokens = sum((1 - u.block / 3) * w * 24 for u, _, w in settled)
    assert progressive.tokens == pytest.approx(tokens + 4 * 24)
    assert progressive.forwards == 4 + sum(w for *_, w in settled)

    made = {(o.way, o.allocator, o.ratio): o for o in found.outcomes}
    assert len(made) == 3 * 2 * 2 == len(found.outcomes)
    for (way, allocator, ratio), o in made.items():
        exact_plan = made["exact", allocator, ratio]
        assert o.over_exact == pytest.approx(o.nll_above_dense / exact_plan.nll_above_dense)
        assert (o.tokens == 0, o.tokens_share == 1) == (way == "predicted", way == "exact")
        assert o.correlation == pytest.approx(1) if way == "exact" else -1 <= o.correlation < 1
    served = made["progressive", "strs", 0.3]
    assert (served.points, served.tokens) == (progressive.points, pytest.approx(progressive.tokens))


def test_rank_correlation() -> None:
    draw = np.random.default_rng(0)
    a = draw.normal(size=(5, 9))
    assert spearman(a, np.exp(a)) == pytest.approx(1) and spearman(a, -a) == pytest.approx(-1)
    assert spearman(np.array([1, 2, 2, 3]), np.array([10, 20, 20, 30])) == pytest.approx(1)  # equal values share a rank
    assert abs(spearman(a, draw.normal(size=(5, 9)))) < 0.6


def test_halves_of_one_window_are_none(search, loaded) -> None:
    from lowrank_core.study.knowledge import Knowledge
    from lowrank_core.types import Point
    from tests.study.test_planning import KNOWN

    known: Knowledge = KNOWN
    for u in KNOWN.grid.units:
        for j, keep in enumerate((0.1, 0.2)):
            nats = float(KNOWN.grid.predicted[KNOWN.grid.row[u.path], j])
            known = known.knowing(Point(u.path, keep, 3, (nats, nats)))
    assert halves(known) == pytest.approx(1)
    one = replace(
        known, points={p: {k: replace(q, deltas=q.deltas[:1]) for k, q in r.items()} for p, r in known.points.items()}
    )
    assert halves(one) is None


def test_brute_force_on_nothing_is_refused(search, loaded) -> None:
    with pytest.raises(BadValue, match="compares nothing"):
        calibration(replace(search, brute=0), loaded=loaded)


def test_drags_of_a_real_model(recipe, loaded) -> None:
    asked = []
    job = slider.steps(recipe.model_copy(update={"allocator": "waterfill"}), 6, True, loaded=loaded)
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            found = stop.value
            break
        if progress.stage == "drags":
            asked.append(progress.item)
    plan, swap, point = found.waits
    assert (plan.stage, swap.stage, point.stage) == ("plan", "swap", "point") and plan.drags == swap.drags == 6
    assert 0 < point.drags == found.measured <= 6 and found.units == 21
    assert all(0 < w.p50 <= w.p95 <= w.most for w in found.waits) and point.p50 > plan.p50
    assert len(set(asked)) == 6 and all(LEAST <= float(a.split()[1]) <= MOST for a in asked)
    assert not any("weight_u" in n for n, _ in loaded.model.named_parameters())  # the dense model stays dense
    bare = slider(recipe, 2, False, loaded=loaded)
    assert [w.stage for w in bare.waits] == ["plan", "swap"] and bare.measured == 0


@pytest.mark.parametrize("storage", ["factored", "pivoted"])
def test_drags_of_a_random_shape(storage: str) -> None:
    found = slider(Recipe(model="random:tiny", storage=storage), 3, device="cpu")
    assert [(w.stage, w.drags) for w in found.waits] == [("plan", 3), ("swap", 3)] and found.units == 14


def test_on_the_command_line(capsys, tiny, tiny_file) -> None:
    small = [
        "--calibrate",
        str(tiny_file),
        "--windows",
        "4",
        "--window",
        "16",
        "--probe-windows",
        "2",
        "--device",
        "cpu",
    ]
    command = ["bench", "calibration", str(tiny), "--text", str(tiny_file), "--test-windows", "2", "--ratios", "0.4"]
    assert main([*command, *small, "--brute", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [r["way"] for r in found["rows"]] == ["progressive", "exact", "brute"] and len(found["plans"]) == 6
    assert {"time_ratio", "largest_difference", "halves", "seconds_before", "threads"} <= set(found)
    assert main(["bench", "slider", "random:tiny", "--drags", "2", "--json"]) == 0
    assert [r["stage"] for r in json.loads(capsys.readouterr().out)["rows"]] == ["plan", "swap"]
    assert main(["bench", "slider", str(tiny), *small, "--drags", "2"]) == 0
    assert "Milliseconds after a new ratio" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["calibration", "nowhere"], "There is no model at 'nowhere'"),
        (["calibration", "demo", "--ratios", "1.5"], "The ratio is 1.5"),
        (["calibration", "demo", "--method", "magic"], "There is no method 'magic'"),
        (["calibration", "demo", "--text", "nothing"], "There is no text 'nothing'"),
        (["slider", "random:huge"], "There is no shape 'huge'"),
        (["slider", "demo", "--storage", "merged"], "no ranks to drag"),
    ],
)
def test_mistakes_are_said(arguments, says: str, capsys) -> None:
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err
