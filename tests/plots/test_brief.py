"""What the figures owe beyond the drawing: contrast, legend words, paths to click, partial data."""

import pytest

from lowrank_core import plots
from lowrank_core.plots.style import INK

from .test_figures import PLAN, POINTS, SITES, SUMMARIES, drawn, sensitivity


def light(color: str) -> float:
    c = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in c)
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("paper", ["#ffffff", "#0b0f19"])
def test_ink_reads_on_both_papers(paper: str) -> None:
    low, high = sorted((light(INK), light(paper)))
    assert (high + 0.05) / (low + 0.05) >= 4


def test_sensitivity_names_its_kind_and_carries_paths() -> None:
    for word, traces in drawn(sensitivity()).items():
        for t in traces:
            assert word in t.name
            assert {d[0] for d in t.customdata if d is not None} <= {s.path for s in SITES}


def test_partial_data_still_draws() -> None:
    assert plots.sensitivity_curves({}, POINTS, SITES, SITES[0].path, 0.5).to_json()
    assert not plots.outlier_map(SUMMARIES, "9.nowhere").layout.shapes


def test_plan_says_predicted() -> None:
    figure = plots.plan_map(PLAN, SITES, {SITES[0].path: 0.1})
    assert "predicted" in figure.data[0].text[0][0]
