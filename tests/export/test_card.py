"""The model card says what was done, and how each number came about."""

from dataclasses import replace

import yaml

from lowrank_core.export.card import Sizes, card, loading_code

from .conftest import RECIPE

SIZES = Sizes(parameters_before=1_000_000, parameters_after=700_000, bytes_before=4_000_000, bytes_after=2_800_000,
              ratio=0.3012)
RANKS = {"model.layers.0.self_attn.q_proj": 12, "model.layers.0.self_attn.o_proj": None}
MEASURED = [{"text": "demo", "perplexity": 7.12345, "window_nll": [1.0, 2.0],
             "setting": {"windows": 64, "window": 256, "dtype": "float32", "device": "cpu"}}]
EXPECTED = (
    "base_model: org/base", "| base model | org/base |", "| method | svd |", "| allocator | uniform |",
    "| demo, 4 windows of 16 tokens, seed 0 |", "removed) | 30.0% |", "achieved | 30.1% |", "1,000,000 → 700,000",
    "4,000,000 → 2,800,000 (30.0% saved)", "size mismatch", "<details>",
    "| text | perplexity | windows | window | dtype | device |", "| demo | 7.1235 | 64 | 256 | float32 | cpu |",
    "| `model.layers.0.self_attn.q_proj` | 12 |", "self_attn.o_proj` | dense |",
    f"```python\n{loading_code('demo-30', 'factored')}\n```",
)


def test_it_names_everything():
    text = card("demo-30", "org/base", RANKS, RECIPE, SIZES, measurements=MEASURED)
    for expected in EXPECTED:
        assert expected in text, expected
    assert "window_nll" not in text


def test_a_local_base_is_no_hub_id(tmp_path):
    for base in ("demo", str(tmp_path), "/models/x", "../x"):
        assert "base_model:" not in card("x", base, RANKS, RECIPE, SIZES)


def test_nothing_known_is_said_not_invented():
    text = card("x", "demo", {}, {}, replace(SIZES, ratio=None))
    assert text.count("not recorded") == 6 and "Nothing was measured" in text


def test_merged_needs_no_import():
    text = card("x", "demo", RANKS, RECIPE, SIZES, "merged")
    assert "import lowrank_core" not in text and "size mismatch" not in text


def test_the_licence_is_the_base_model_s():
    text = card("x", "org/base", RANKS, RECIPE, SIZES, licence={"license": "other", "license_name": "base: terms"})
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["license_name"], front["base_model"]) == ("other", "base: terms", "org/base")
    assert "| licence of the base model | base: terms |" in text


def test_it_says_what_runs_elsewhere():
    text = card("x", "demo", RANKS, RECIPE, SIZES)
    assert all(engine in text for engine in ("vLLM", "llama.cpp", "Ollama", "--merged"))
    assert "saves no bytes" in card("x", "demo", RANKS, RECIPE, SIZES, "merged")


def test_cells_cannot_break_the_table():
    assert "a\\|b c" in card("x", "demo", RANKS, {"method": "a|b\nc"}, SIZES)
