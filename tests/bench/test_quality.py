"""The quality benchmark: every combination once, nothing twice, and its tables."""

import json
from dataclasses import asdict, replace

import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.bench.grid import Grid, Quality, Row
from lowrank_core.bench.quality import quality
from lowrank_core.bench.tables import between_markers, markdown, mean_and_spread, summaries
from lowrank_core.cli import main
from lowrank_core.errors import BadValue
from lowrank_core.methods import METHODS
from lowrank_core.study.recipe import PRESETS
from lowrank_core.types import Measurement, Setting


@pytest.fixture
def grid(tiny, tiny_file) -> Grid:
    texts = (str(tiny_file),)
    return Grid(str(tiny), texts, texts, (0.3, 0.5), tuple(METHODS), tuple(ALLOCATORS), (0,), 4, 4, 16, 2)


def test_every_combination_has_a_row(grid, loaded, store) -> None:
    grid = replace(grid, ratios=(0.4,))
    found = quality(grid, store, loaded=loaded)
    asked = [(r.method, r.allocator, r.ratio_asked) for r in found.rows]
    assert asked == [(m, a, r) for m in METHODS for a in ALLOCATORS for r in grid.ratios]
    dense = found.dense[grid.texts[0]]
    for row in found.rows:
        assert row.ratio_asked <= row.ratio_achieved < row.ratio_asked + 0.05
        assert row.bytes == 4 * row.parameters < 4 * loaded.parameters
        assert row.kl > 0 and 0 <= row.agreement <= 1
        assert row.perplexity == pytest.approx(dense.perplexity * 2.718281828459045**row.nll_above_dense)


def test_rows_are_what_a_run_gives(grid, loaded, store) -> None:
    from lowrank_core.calibration.texts import read_text
    from lowrank_core.study.compress import evaluate, open_workbench, run

    grid = replace(grid, methods=("svd",), seeds=(3,), ratios=(0.5,))
    for row, [recipe] in zip(quality(grid, store, loaded=loaded).rows, by_one(grid), strict=True):
        compressed = run(recipe, loaded=loaded)
        bench = open_workbench(recipe, loaded=loaded)
        measured = evaluate(bench, read_text(row.text), compressed.loaded.model, recipe, compressed.plan, 4)
        assert row.perplexity == pytest.approx(measured.perplexity, rel=1e-5)
        assert row.ratio_achieved == compressed.ratio_achieved and row.parameters == compressed.parameters_after


def by_one(grid: Grid) -> list:
    return [[recipe] for group in grid.recipes() for recipe in group]


def test_a_second_run_runs_nothing(grid, loaded, store) -> None:
    grid = replace(grid, methods=("asvd-i",), seeds=(0, 1))
    first = quality(grid, store, loaded=loaded)
    calls = []
    handle = loaded.model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        again = quality(grid, store, loaded=loaded)
    finally:
        handle.remove()
    assert not calls
    assert [{**asdict(r), "seconds": 0} for r in again.rows] == [{**asdict(r), "seconds": 0} for r in first.rows]


def test_points_are_measured_once_per_seed_and_method(grid, loaded, store, monkeypatch) -> None:
    from lowrank_core.evaluation.sensitivity import Probe

    calls, measure = [], Probe.measure
    monkeypatch.setattr(Probe, "measure", lambda self, *a: calls.append(1) or measure(self, *a))
    quality(replace(grid, methods=("svd", "asvd-i")), store, loaded=loaded)
    assert len(calls) == 2 * 21  # the nine candidates of a layer at once


def test_a_mistake_in_the_grid_is_found_at_once(grid) -> None:
    for wrong in ({"methods": ("mystery",)}, {"allocators": ("mystery",)}, {"ratios": (1.0,)}):
        with pytest.raises(BadValue):
            quality(replace(grid, **wrong))


def made_up() -> Quality:
    grid = Grid("m", ("c",), ("t",), (0.1, 0.3), ("svd",), ("uniform",), (0, 1, 2), 4, 4, 16, 2)
    values = {0.1: (4.0, 5.0, 6.0), 0.3: (40.0, 40.0, 46.0)}
    rows = tuple(
        Row("c", "svd", "uniform", "factored", ratio, ratio, seed, 10, 40, "t", 0.1, perplexity, 0.2, 0.5, 0.0)
        for ratio, of in values.items()
        for seed, perplexity in enumerate(of)
    )
    return Quality(grid, "float32", "cpu", {"t": Measurement(1.0, 60, Setting("t", 4, 16, "float32", "cpu"))}, rows)


def test_seeds_become_mean_and_half_the_range() -> None:
    assert mean_and_spread([1.0, 2.0, 6.0]) == (3.0, 2.5)
    [summary] = summaries(made_up(), "perplexity")
    assert summary.columns == ("method", "allocator", "storage", "ratio 0.1", "ratio 0.3")
    assert summary.rows == (("svd", "uniform", "factored", "5.000 ± 1.000", "42.00 ± 3.00"),)
    for value, cell in (("nll", "0.100 ± 0.000"), ("kl", "0.200 ± 0.000"), ("agreement", "0.500 ± 0.000")):
        [other] = summaries(made_up(), value)
        assert other.rows == (("svd", "uniform", "factored", cell, cell),)
    assert "the dense model has perplexity 2.718" in summary.caption and "seed 0, 1, 2" in summary.caption


def test_markdown_goes_between_the_markers(tmp_path) -> None:
    file = tmp_path / "page.md"
    file.write_text("before\n<!-- bench quality -->\nold\n<!-- /bench quality -->\nafter\n")
    text = between_markers(file, "quality", markdown(made_up(), "perplexity"))
    assert text.startswith("before\n<!-- bench quality -->\nPerplexity on t") and text.endswith("-->\nafter\n")
    assert "| svd | uniform | factored | 5.000 ± 1.000 | 42.00 ± 3.00 |\n<!-- /bench" in text and "old" not in text
    file.write_text("no place")
    with pytest.raises(BadValue, match="no place for the table"):
        between_markers(file, "quality", "x")
    assert (
        between_markers(tmp_path / "new.md", "quality", "x") == "<!-- bench quality -->\nx\n<!-- /bench quality -->\n"
    )


def test_the_command(tiny, tiny_file, tmp_path, capsys) -> None:
    line = ["bench", "quality", tiny, "--calibrate", tiny_file, "--text", tiny_file, "--methods", "svd", "asvd-i"]
    line += [
        "--allocators",
        "uniform",
        "--ratios",
        "0.3",
        "0.5",
        "--seeds",
        "0",
        "1",
        "--windows",
        "4",
        "--window",
        "16",
    ]
    line += ["--test-windows", "2", "--device", "cpu", "--markdown", tmp_path / "b.md"]
    assert main([str(w) for w in [*line, "--json"]]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert len(found["rows"]) == 8 + 8 and found["dense"][0]["windows"] == 2
    assert {
        "method", "allocator", "ratio_asked", "ratio_achieved", "seed", "parameters", "bytes", "text",
        "nll_above_dense", "perplexity", "seconds",
    } <= set(found["rows"][0])  # fmt: skip
    assert "| svd | uniform | factored |" in (tmp_path / "b.md").read_text()
    assert main([str(w) for w in line]) == 0
    assert "ratio 0.3" in capsys.readouterr().out


def test_storages_and_presets_have_rows_of_their_own(grid, loaded, store) -> None:
    grid = replace(
        grid,
        methods=("two-sided", "joint"),
        allocators=("waterfill",),
        ratios=(0.4,),
        storages=("factored", "pivoted"),
        presets=tuple(PRESETS),
    )
    found = quality(grid, store, loaded=loaded)
    labels = [(r.method, r.allocator, r.storage) for r in found.rows]
    assert labels == grid.labels() and ("joint", "waterfill", "pivoted") not in labels
    assert {label[0] for label in labels} >= {f"**{name}**" for name in PRESETS}
    for row in found.rows:
        assert row.kl >= 0 and 0 <= row.agreement <= 1 and 0.4 <= row.ratio_achieved < 0.45
    by = dict(zip(labels, found.rows, strict=True))
    pivoted, factored = (by["two-sided", "waterfill", s].kl for s in ("pivoted", "factored"))
    assert pivoted < factored, "more rank for the same parameters"


def test_the_plot_is_a_page_of_every_text(tmp_path) -> None:
    from lowrank_core.cli.bench import draw

    draw(tmp_path / "q.html", made_up())
    page = (tmp_path / "q.html").read_text()
    assert "svd · uniform · factored" in page and "perplexity 2.718" in page
    with pytest.raises(BadValue, match="cannot be written"):
        draw(tmp_path / "none" / "q.html", made_up())
