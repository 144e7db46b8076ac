"""The command behind the figures of a large model: pieces add up, and the last one leaves a model that loads."""

import json
import sys

import pytest

from lowrank_core.bench import large
from lowrank_core.models.loading import load_model
from lowrank_core.study import build


@pytest.mark.skipif(sys.platform != "linux", reason="it reads the kernel's mark of the highest memory")
def test_a_run_in_pieces(tiny, tiny_file, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(build, "FACTORS_HELD", 1000)  # so that it is large
    values = {"text": str(tiny_file), "windows": 6, "window": 24, "ratio": 0.3}
    report = tmp_path / "out.json"
    first = large.piece(report, tiny, tmp_path / "out", values, 0)
    assert first.saved == 0 and first.pieces == 1
    second = large.piece(report, tiny, tmp_path / "out", values, 600)
    assert second.pieces == 2 and second.ratio >= 0.3 and json.loads(report.read_text())["saved"] == second.saved > 0
    assert {"statistics", "gradients", "compress", "save"} <= set(second.seconds) == set(second.peaks)
    assert all(seconds >= 0 for seconds in second.seconds.values()) and second.bare > 0 and second.stored > 0
    assert load_model(tmp_path / "out", "cpu").folder.compressed


def test_the_shape_is_tinyllamas() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**large.SHAPE))
    assert sum(p.numel() for p in model.parameters()) == 1_100_048_384
