"""The KV cache on the command line: `bench kv`, `compress --kv-ratio`, and what reads a folder that has latents."""

import json

import pytest


def test_the_command(lowrank, tiny, tiny_file, small, tmp_path) -> None:
    line = ("bench", "kv", tiny, "--calibrate", tiny_file, "--text", tiny_file, "--test-windows", "2", *small)
    file = tmp_path / "table.md"
    said = lowrank(*line, "--ratios", "0.5", "--methods", "joint", "--markdown", file, "--json")
    rows = said.found["rows"]
    assert [r["allocator"] for r in rows] == ["waterfill", "uniform"]
    assert all(r["share_of_dense"] <= 0.505 and set(r["rebuild_ms"]) == {"128", "512", "2048"} for r in rows)
    assert said.found["dense"][0]["bytes_per_token"] == 384
    assert "<!-- bench kv -->" in file.read_text()
    one = (*line, "--ratios", "0.5", "--methods", "asvd-i", "--allocators", "uniform", "--heads", "1", "all")
    people = lowrank(*one)
    assert people.code == 0 and "rebuild at 512" in people.out
    assert [r["heads"] for r in lowrank(*one, "--json").found["rows"]] == [1, None]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--ratios", "1"), "The KV ratio is"),
        (("--ratios", "0"), "The KV ratio 0"),
        (("--methods", "best"), "no KV method"),
        (("--allocators", "strs"), "no KV allocator"),
        (("--heads", "some"), "no number of heads"),
        (("--heads", "0"), "no number of heads"),
    ],
)
def test_mistakes(lowrank, tiny, tiny_file, flags, says) -> None:
    assert says in lowrank("bench", "kv", tiny, "--calibrate", tiny_file, *flags).refused()


def test_compress_evaluate_and_chat_use_the_latents(lowrank, tiny, tiny_file, small, tmp_path) -> None:
    line = ("compress", tiny, "--calibrate", tiny_file, "--json", *small)
    out = tmp_path / "kv"
    found = lowrank(*line, "--kv-ratio", "0.5", "--out", out).found
    assert found["ratio_asked"] == 0 and set(found["ranks"].values()) == {None}
    assert found["kv_ratio_achieved"] >= found["kv_ratio_asked"] == 0.5
    assert found["kv_bytes_per_token_after"] <= 0.5 * found["kv_bytes_per_token_before"] == 192
    assert set(json.loads((out / "config.json").read_text())["quantization_config"]["latents"])
    dense, ours = (
        lowrank("evaluate", m, "--text", tiny_file, "--json", *small).found["results"][0]["nll"] for m in (tiny, out)
    )
    assert ours > dense
    assert lowrank("chat", out, "--prompt", "Hi", "--max-tokens", "3", "--json").found["replies"][0]["tokens"] <= 3
    both = lowrank(*line, "--kv-ratio", "0.5", "--ratio", "0.4").found
    assert both["ratio_achieved"] >= 0.4 and both["params_after"] < found["params_after"]
    people = lowrank("compress", tiny, "--calibrate", tiny_file, *small, "--kv-ratio", "0.5")
    assert "KV cache per token 384 → 192 bytes" in people.out


def test_compress_mistakes(lowrank, tiny, tiny_file, tmp_path) -> None:
    line = ("compress", tiny, "--calibrate", tiny_file)
    assert "No ratio is given" in lowrank(*line).refused()
    assert "Both ratios are 0" in lowrank(*line, "--ratio", "0", "--kv-ratio", "0").refused()
    assert "no groups of 3" in lowrank(*line, "--kv-ratio", "0.5", "--kv-heads", "3").refused()
    for wrong in ("1", "-0.5", "half", "nan"):
        assert "The KV ratio is" in lowrank(*line, "--kv-ratio", wrong).refused()
    file = tmp_path / "recipe.yaml"
    for wrong, says in (("1.2", "The KV ratio is 1.2"), ("-.inf", "The KV ratio is"), (".nan", "The KV ratio is nan")):
        file.write_text(f"kv_ratio: {wrong}\n")
        assert says in lowrank(*line, "--recipe", file).refused()
        assert says in lowrank(*line, "--set", f"kv_ratio={wrong}").refused()
    file.write_text("kv_ratio: half\n")
    assert "kv_ratio cannot be 'half'" in lowrank(*line, "--recipe", file).refused()
    assert "keeps no latents" in lowrank(*line, "--kv-ratio", "0.5", "--storage", "merged").refused()
