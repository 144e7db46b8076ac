"""What each command finds: the keys of its JSON, equal figures in memory and on disk, and nothing computed twice."""

import json

import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.methods import METHODS
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.spelling import to_yaml


def test_inspect(lowrank, tiny, tiny_file, small) -> None:
    found = lowrank("inspect", tiny, "--calibrate", tiny_file, "--spectra", "--json", *small).found
    assert {"model", "parameters", "sites"} <= set(found) and len(found["sites"]) == 21
    for site in found["sites"]:
        assert {"path", "role", "block", "d_out", "d_in", "outlier_ratio", "top_channel"} <= set(site)
        most, sigma = min(site["d_out"], site["d_in"]), site["singular_values"]
        assert len(sigma) == most and sigma == sorted(sigma, reverse=True)
        assert 1 <= site["stable_rank"] <= site["effective_rank"] <= most
        assert site["outlier_ratio"] >= 1 and 0 <= site["top_channel"] < site["d_in"]
    assert [s["top_channel"] for s in found["sites"] if s["role"] == "q"] == [3] * 3  # the loud one of tiny_llama
    plain = lowrank("inspect", tiny, "--calibrate", tiny_file, "--json", *small).found
    assert "singular_values" not in plain["sites"][0]


def test_inspect_for_people(lowrank, tiny, tiny_file, small) -> None:
    said = lowrank("inspect", tiny, "--calibrate", tiny_file, *small)
    assert said.code == 0 and said.err == ""
    assert "stable rank" in said.out and "6 × 32 tokens, float32 on cpu, seed 0" in said.out


def test_sensitivity_measures_each_point_once(lowrank, tiny, tiny_file, small) -> None:
    line = ("sensitivity", tiny, "--calibrate", tiny_file, "--json", "--probe-windows", "4", *small)
    first = lowrank(*line, "--ratios", "0.2", "0.5").found
    assert {"dense_nll", "points", "forwards", "tokens", "seconds"} <= set(first)
    assert first["forwards"] == 2 * 21 + 1 and first["tokens"] == first["forwards"] * 4 * 32
    assert {p["ratio"] for p in first["points"]} == {0.2, 0.5} and len(first["points"]) == 42
    assert all({"path", "ratio", "rank", "delta_nll"} <= set(p) for p in first["points"])
    again = lowrank(*line, "--ratios", "0.5", "--ratios", "0.2").found
    assert again["forwards"] == again["tokens"] == 0
    assert again["dense_nll"] == first["dense_nll"]
    assert {json.dumps(p) for p in again["points"]} == {json.dumps(p) for p in first["points"]}
    more = lowrank(*line, "--ratios", "0.5", "0.7").found
    assert more["forwards"] == 21 + 1 and more["dense_nll"] == first["dense_nll"]


def test_sensitivity_knows_what_its_dense_loss_was_measured_on(lowrank, tiny, tiny_file, small) -> None:
    """With another seed the windows differ; with seed 0 they are those of an evaluation."""
    line = ("sensitivity", tiny, "--calibrate", tiny_file, "--json", "--ratios", "0.5", *small)
    first, other = lowrank(*line).found["dense_nll"], lowrank(*line, "--seed", "1").found["dense_nll"]
    evaluated = lowrank("evaluate", tiny, "--text", tiny_file, "--json", *small).found
    assert first == pytest.approx(evaluated["results"][0]["nll"], abs=1e-5) and abs(other - first) > 1e-3


def test_compress_and_evaluate_agree(lowrank, tiny, tiny_file, small, tmp_path) -> None:
    """The saved folder has the perplexity of the model in memory, to 4 digits."""
    from lowrank_core.calibration.texts import read_text
    from lowrank_core.study.compress import evaluate, open_workbench, run

    out = tmp_path / "half"
    line = ("compress", tiny, "--ratio", "0.4", "--calibrate", tiny_file, "--out", out, "--json", *small)
    found = lowrank(*line).found
    assert {
        "ratio_asked", "ratio_achieved", "params_before", "params_after", "bytes_before", "bytes_after", "ranks",
        "predicted_nll", "seconds",
    } <= set(found)  # fmt: skip
    assert found["ratio_asked"] == 0.4 <= found["ratio_achieved"] < 0.45
    assert found["bytes_before"] - found["bytes_after"] == 4 * (found["params_before"] - found["params_after"]) > 0
    weights = sum(p.stat().st_size for p in out.glob("*.safetensors"))
    assert 0 < weights - found["bytes_after"] < 10_000  # the header
    assert set(found["seconds"]) >= {"load", "calibrate", "spectra", "sensitivity", "plan", "compress", "save"}

    recipe = Recipe(model=str(tiny), text=str(tiny_file), windows=6, window=32, ratio=0.4)
    compressed, text = run(recipe, device="cpu"), read_text(tiny_file)
    assert dict(compressed.plan.ranks) == found["ranks"]
    bench = open_workbench(recipe, device="cpu")
    memory = evaluate(bench, text, compressed.loaded.model, recipe, compressed.plan, 6)
    disk = lowrank("evaluate", out, "--text", tiny_file, "--json", *small).found["results"]
    assert disk[0]["perplexity"] == pytest.approx(memory.perplexity, rel=1e-4)
    assert disk[0]["tokens"] == 6 * 31 and (disk[0]["windows"], disk[0]["window"]) == (6, 32)
    dense = lowrank("evaluate", tiny, "--text", tiny_file, "--json", *small).found["results"]
    assert dense[0]["perplexity"] != pytest.approx(disk[0]["perplexity"], rel=0.01)


def test_merged_saves_no_bytes(lowrank, tiny, tiny_file, small, tmp_path) -> None:
    line = ("compress", tiny, "--ratio", "0.3", "--calibrate", tiny_file, "--storage", "merged")
    found = lowrank(*line, "--out", tmp_path / "merged", "--json", *small).found
    assert found["bytes_after"] == found["bytes_before"] and found["params_after"] == found["params_before"]
    assert lowrank("evaluate", tmp_path / "merged", "--text", tiny_file, "--json", *small).code == 0


def test_storages_are_those_that_can_be_saved() -> None:
    from lowrank_core.cli.compress import STORAGES
    from lowrank_core.export import save

    assert set(STORAGES) <= set(save.STORAGES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_every_method_and_allocator_compresses(lowrank, tiny, tiny_file, method, allocator) -> None:
    line = ("compress", tiny, "--ratio", "0.5", "--method", method, "--allocator", allocator, "--calibrate", tiny_file)
    found = lowrank(*line, "--json", "--windows", "2", "--window", "16", "--device", "cpu").found
    assert found["ratio_achieved"] >= 0.5 and (found["method"], found["allocator"]) == (method, allocator)


def test_flags_win_over_the_recipe(lowrank, tiny, tiny_file, small, tmp_path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        to_yaml(Recipe(text=str(tiny_file), method="svd", allocator="uniform", ratio=0.6, dense_blocks=(0,)))
    )
    found = lowrank("compress", tiny, "--recipe", recipe, "--ratio", "0.2", "--json", *small).found
    assert (found["method"], found["allocator"], found["ratio_asked"]) == ("svd", "uniform", 0.2)
    assert found["model"] == str(tiny) and found["calibrate"] == str(tiny_file)
    assert all(rank is None for path, rank in found["ranks"].items() if ".layers.0." in path)


def test_the_default_text_is_said(lowrank, tiny, small) -> None:
    said = lowrank("compress", tiny, "--ratio", "0.3", "--json", *small)
    assert said.found["calibrate"] == "demo" and said.err.startswith("Calibration text: demo")


def test_compress_for_people(lowrank, tiny, tiny_file, small) -> None:
    said = lowrank("compress", tiny, "--ratio", "0.3", "--calibrate", tiny_file, *small)
    assert said.code == 0 and "self_attn.q_proj" in said.out and "Predicted loss above dense" in said.out


def test_evaluate_takes_several_texts(lowrank, tiny, tiny_file, small, tmp_path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(tiny_file.read_bytes())
    for flags in (("--text", tiny_file, copy), ("--text", tiny_file, "--text", copy)):
        found = lowrank("evaluate", tiny, *flags, "--json", *small).found["results"]
        assert [r["text"] for r in found] == [str(tiny_file), str(copy)]
        assert found[0]["perplexity"] == found[1]["perplexity"]
    assert "6 × 32" in lowrank("evaluate", tiny, "--text", tiny_file, *small).out


def test_chat(lowrank, tiny, tiny_file, small, tmp_path, monkeypatch) -> None:
    import io

    lowrank("compress", tiny, "--ratio", "0.3", "--calibrate", tiny_file, "--out", tmp_path / "c", *small)
    line = ("chat", tiny, "--against", tmp_path / "c", "--max-tokens", "5", "--device", "cpu")
    found = lowrank(*line, "--prompt", "Hello", "--json").found
    assert [r["model"] for r in found["replies"]] == [str(tiny), str(tmp_path / "c")]
    assert all({"text", "tokens", "seconds", "tokens_per_second"} <= set(r) for r in found["replies"])
    assert all(r["tokens"] <= 5 and r["seconds"] > 0 for r in found["replies"])
    said = lowrank(*line, "--prompt", "Hello")
    assert said.code == 0 and found["replies"][0]["text"].strip() in said.out

    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n\nAnd then?\n" * 8 + "/quit\nnever asked\n"))
    talk = lowrank(*line)
    assert talk.code == 0 and talk.err.count("tokens per second") == 32  # 16 turns, 2 models; the context is 64 tokens


def test_cache(lowrank, tiny, tiny_file, small, cache) -> None:
    assert lowrank("cache", "ls", "--json").found == {"folder": str(cache), "kinds": [], "bytes": 0}
    lowrank("evaluate", tiny, "--text", tiny_file, *small)
    found = lowrank("cache", "ls", "--json").found
    assert [k["kind"] for k in found["kinds"]] == ["anatomy", "evaluation"] and found["bytes"] > 0
    freed = lowrank("cache", "clear", "--kind", "evaluation", "--json").found["bytes_freed"]
    assert freed == found["kinds"][1]["bytes"]
    assert "anatomy" in lowrank("cache", "ls").out
    assert lowrank("cache", "clear").code == 0 and lowrank("cache", "ls", "--json").found["kinds"] == []


# --- texts of every kind -------------------------------------------------------------------------------------------


def test_texts_of_every_kind(lowrank, tiny, tiny_file, small) -> None:
    mix = f"self+chat:{tiny_file}:2"
    found = lowrank("compress", tiny, "--ratio", "0.3", "--calibrate", mix, "--json", *small).found
    assert found["calibrate"] == mix and found["ratio_achieved"] >= 0.3
    texts = ("self", f"chat:{tiny_file}", f"{tiny_file}:2+demo")
    found = lowrank("evaluate", tiny, "--text", *texts, "--json", *small).found
    assert [r["text"] for r in found["results"]] == list(texts)
    assert len({r["nll"] for r in found["results"]}) == 3 and {r["windows"] for r in found["results"]} == {6}
    assert "'text'" not in lowrank("cache", "ls").err


def test_texts_that_cannot_be_had(lowrank, tiny, tiny_file) -> None:
    for name, sentence in (
        ("demo:x+demo-test", "no weight"),
        ("chat:self", "chat template"),
        ("c4", "cannot be fetched from the Hub"),
        ("demo+nowhere", "no text 'nowhere'"),
    ):
        assert sentence in lowrank("compress", tiny, "--ratio", "0.3", "--calibrate", name).refused()
        assert sentence in lowrank("evaluate", tiny, "--text", name).refused()


def test_completion_goes_on_in_a_mix() -> None:
    from lowrank_core.cli.options import complete_text

    assert (
        "self" in complete_text("") and "chat:demo" in complete_text("chat:d") and "chat:self" not in complete_text("")
    )
    assert complete_text("demo:2+wikitext-") == ["demo:2+wikitext-sample"]
