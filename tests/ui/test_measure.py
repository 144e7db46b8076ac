"""The Measure page's handlers as functions, on a tiny model; what is exported loads as the page says."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lowrank_core.calibration.texts import read_text
from lowrank_core.errors import LowRankError
from lowrank_core.jobs import finish
from lowrank_core.settings import BUNDLED_STUDY, EVALUATION_WINDOWS
from lowrank_core.store import Store
from lowrank_core.study.compress import run
from lowrank_core.study.recipe import Recipe
from lowrank_core.ui import export_handlers, measure_handlers, sides
from lowrank_core.ui.host import PUBLIC
from lowrank_core.ui.house import House
from lowrank_core.ui.sides import Side
from lowrank_core.ui.squeeze_handlers import prepare

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return House(Store(tmp_path_factory.mktemp("store"), (BUNDLED_STUDY,)))


@pytest.fixture(scope="module")
def recipe(tiny, tiny_file):
    return Recipe(model=str(tiny), text=str(tiny_file), windows=8, window=32, probe_windows=2, ratio=0.4)


def test_both_models_are_compared(house, recipe, tiny_file):
    *_, (found, status) = measure_handlers.compare(house, recipe, "a", [str(tiny_file)])
    lines = {line.name: line for line in found.lines}
    view = house.view(recipe)
    plan = house.visit("a").plan
    assert status == "" and found.ratio == plan.ratio(view.units) >= 0.4
    assert lines["parameters"].dense == view.body.parameters
    assert lines["weights in the file"].compressed == view.bytes_of(plan) < lines["weights in the file"].dense
    for dtype, width in (("float32", 4), ("bfloat16", 2)):
        stored = lines[f"keys and values per token, {dtype}"]
        assert stored.change == 0 and stored.dense == 3 * 2 * 16 * width
    assert not any("rebuilding" in name for name in lines)
    for batch in (1, 8):
        for name in ("prefill", "decode"):
            assert lines[f"{name}, batch {batch}"].dense > 0 and lines[f"{name}, batch {batch}"].compressed > 0
    text = Path(tiny_file).name
    assert lines[f"KL from dense, {text}"].worse and lines[f"KL from dense, {text}"].compressed > 0
    assert lines[f"same likeliest token, {text}"].compressed < 1
    now, dense = (m.perplexity for m in (_stored(view, plan, tiny_file), _stored(view, None, tiny_file)))
    assert (lines[f"perplexity, {text}"].dense, lines[f"perplexity, {text}"].compressed) == (dense, now)
    assert "worse" in measure_handlers.table(found, recipe)
    assert str(tiny_file) not in measure_handlers.table(found, recipe)


def test_latents_are_counted_and_their_price_is_told(house, recipe):
    half = recipe.model_copy(update={"ratio": 0.0, "kv_ratio": 0.5})
    *_, (found, _) = measure_handlers.compare(house, half, "kv", [])
    lines = {line.name: line for line in found.lines}
    view = house.view(half)
    assert found.ratio == view.removed(house.visit("kv").plan) > 0, "the layers that make latents are smaller"
    for dtype in ("float32", "bfloat16"):
        stored = lines[f"keys and values per token, {dtype}"]
        assert 0.45 < stored.compressed / stored.dense <= 0.505
    for context in (128, 512, 2048):
        price = lines[f"rebuilding keys and values at {context} tokens"]
        assert price.unit == "ms" and price.dense == 0 < price.compressed
    assert " ms</td>" in measure_handlers.table(found, half)


def test_what_is_measured_is_what_the_recipe_makes(house, recipe):
    """Though Squeeze has not measured a single point yet."""
    searched = recipe.model_copy(update={"allocator": "strs", "seed": 3})
    bench, visit = house.bench(searched), house.visit("early")
    for job in prepare(bench, searched):
        finish(job)
    view = house.view(searched)
    visit.settle_on(searched, view.plan({}))
    as_it_is = sides.ready(house, Side("", searched), searched, "early", "early/chat", 0, as_it_is=True)
    with pytest.raises(StopIteration) as ended:
        while True:
            next(as_it_is)
    assert ended.value.value.plan.ranks == view.plan({}).ranks, "a chat takes the plan as it is"
    *_, (found, _) = measure_handlers.compare(house, searched, "early", [])
    made = run(searched, house.store, loaded=house.model(searched.model))
    assert visit.plan.ranks == made.plan.ranks and found.ratio == made.ratio_achieved


def _stored(view, plan, text):
    text = read_text(str(text))
    known = view.study
    return (
        known.evaluation(view.recipe, plan, text, EVALUATION_WINDOWS) if plan else known.dense(text, EVALUATION_WINDOWS)
    )


def test_a_comparison_stops(house, recipe, tiny_file):
    steps = measure_handlers.compare(house, recipe, "b", [str(tiny_file)])
    next(steps)
    house.next_turn(measure_handlers.lane_of("b"))
    assert list(steps)[-1][1].startswith("Stopped")


def test_a_sweep_grows_stops_and_goes_on(house, recipe, tiny_file):
    grid = measure_handlers.grid_of(recipe, ["svd", "asvd-i", "best"], [0.5, 0.3], str(tiny_file))
    assert grid.ratios == (0.3, 0.5) and grid.presets == ("best",)
    steps, rows = measure_handlers.sweep(house, grid, "a"), 0
    for found, status in steps:
        if found is not None:
            rows = len(found.rows)
            assert status == f"{rows} of 6 rows."
            if rows == 3:
                house.next_turn(measure_handlers.lane_of("a") + "/sweep")
    assert rows == 3 and status.startswith("Stopped after 3 of 6 rows")
    *_, (_, status) = again = list(measure_handlers.sweep(house, grid, "a"))
    found = [f for f, _ in again if f is not None][-1]
    assert len(found.rows) == 6 and status == "All 6 rows measured."
    figure, caption, table = measure_handlers.drawn(found)
    assert len(figure.data) == 3 and Path(tiny_file).name in caption and table.count("<tr>") == 1 + 3
    assert {r.method for r in found.rows} == {"svd", "asvd-i", "**best**"}


def test_an_empty_sweep_is_said(recipe):
    with pytest.raises(LowRankError, match="nothing to measure"):
        measure_handlers.grid_of(recipe, [], [0.3], "demo-test")


@pytest.mark.parametrize("storage", ["factored", "merged"])
def test_the_lines_on_the_page_load_the_zip(house, recipe, storage, tmp_path):
    *_, (packed, _) = export_handlers.folder(house, recipe, "a", storage)
    with zipfile.ZipFile(packed) as z:
        z.extractall(tmp_path)
        assert str(recipe.text) not in "".join(z.read(n).decode("utf-8", "ignore") for n in z.namelist() if "json" in n)
    code = export_handlers.code(recipe, storage)
    check = "print(sum(p.numel() for p in model.parameters()), len(tokenizer))"
    # run as a user would, beside the folder; only the library's place is added
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{code}\n{check}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parameters, tokens = map(int, done.stdout.split())
    view, plan = house.view(recipe), house.visit("a").plan
    kept = plan.kept(view.units) if storage == "factored" else view.body.site_parameters
    assert parameters == view.body.parameters - view.body.site_parameters + kept and tokens > 300


def test_the_card_in_the_zip_says_what_was_measured(house, recipe, tmp_path, monkeypatch):
    from lowrank_core.calibration import hub
    from lowrank_core.study.compress import evaluate

    fetched = []
    monkeypatch.setattr(hub, "fetch", lambda key, source: fetched.append(key) or b"Once upon a time. " * 99)

    known = recipe.model_copy(update={"ratio": 0.25})
    *_, (packed, _) = export_handlers.folder(house, known, "a", "factored")
    name = f"{export_handlers.folder_name(known)}/README.md"
    with zipfile.ZipFile(packed) as z:
        assert "Nothing was measured" in z.read(name).decode("utf-8")
    bench, plan = house.bench(known), house.visit("a").plan
    found = evaluate(bench, read_text("demo-test"), recipe=known, plan=plan)
    *_, (packed, _) = export_handlers.folder(house, known, "a", "factored")
    with zipfile.ZipFile(packed) as z:
        card = z.read(name).decode("utf-8")
    assert f"{found.perplexity:.3f}"[:5] in card and "demo-test" in card and "Nothing was measured" not in card
    assert not fetched, "to write a card no data set is fetched"


def test_a_public_host_uploads_with_the_visitors_own_token(tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_server")
    with pytest.raises(LowRankError, match="no token"):
        public = House(Store(tmp_path / "store", (BUNDLED_STUDY,)), PUBLIC)
        list(export_handlers.push(public, recipe, "a", "factored", "me/model", " ", False))


def test_an_upload_without_a_network_is_said(house, recipe):
    with pytest.raises(LowRankError, match="cannot be reached"):
        list(export_handlers.push(house, recipe, "a", "factored", "me/model", "hf_mine", False))


def test_the_report_holds_what_is_known(house):
    recipe = Recipe(allocator="strs")
    text = export_handlers.report_of(house.view(recipe), house.visit("r"), {})
    assert "louder than the median" in text and "lowrank_core compress demo --ratio 0.3" in text
    assert text.count('class="plotly-graph-div"') == 6
    assert 4e6 < len(text) < 8e6
