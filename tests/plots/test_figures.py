"""Every figure from synthetic values: predicted and measured apart, log axes, floors, outlines, sizes."""

import json

import numpy as np
import pytest

from lowrank_core import plots
from lowrank_core.plots.sensitivity import FLOOR
from lowrank_core.types import ChannelSummary, Plan, Point, Site, Spectrum

LABELS = {"svd": "SVD", "asvd-0": "ASVD-0"}
KEEPS = np.array([k / 10 for k in range(1, 10)])
ROLES = {"q": "qkv", "k": "qkv", "v": "qkv", "o": "o", "gate": "gate_up", "up": "gate_up", "down": "down"}
SITES = tuple(Site(f"layers.{b}.{r}", b, r, f"{b}.{g}", 48, 40) for b in range(8) for r, g in ROLES.items())


def summary(group: str, loud: dict[int, float], channels: int = 64) -> ChannelSummary:
    rms = np.ones(channels)
    for at, value in loud.items():
        rms[at] = value
    top = np.argsort(-rms)[:5]
    tokens = ("the", "cat", "the", "\n")
    values = np.tile(rms[top], (4, 1))
    values[0, 0] = 0.0  # below every floor
    return ChannelSummary(group, 4096, rms, rms * 0.8, rms * 3, np.full(channels, 3.0), top, values, tokens)


SUMMARIES = [summary(f"{b}.{g}", {3: 2.0 + b}) for b in range(3) for g in ("qkv", "o", "gate_up")]
SUMMARIES.insert(3, summary("0.down", {7: 31.0}))
SPECTRA = [
    Spectrum("a", m, np.geomspace(s, s / 1e3, 40), np.arange(41), np.linspace(s, 0, 41), s, np.linspace(s, 0, 41) / 2)
    for m, s in (("svd", 9.0), ("asvd-0", 4.0))
]
PREDICTED = {s.path: (KEEPS, 0.1 * (1 - KEEPS) ** 2) for s in SITES}
POINTS = {s.path: {float(k): Point(s.path, float(k), 5, (0.066, 0.07, 0.074)) for k in KEEPS} for s in SITES}
PLAN = Plan({s.path: None if s.role == "v" else 8 for s in SITES})
MEASURED = [
    {"method": "svd", "ratio": 0.2, "bytes": 8e6, "perplexity": 21.0, "label": "20 %", "now": True},
    {"method": "svd", "ratio": 0.4, "bytes": 6e6, "perplexity": 30.0, "label": "40 %", "now": False},
]


def tradeoff():
    return plots.tradeoff({"svd": [(9e6, 20.0), (6e6, 31.0)]}, MEASURED, (1e7, 18.0), LABELS)


def sensitivity(points=POINTS, selected=None):
    return plots.sensitivity_curves(PREDICTED, points, SITES, selected, 0.6)


FIGURES = {
    "outliers": lambda: plots.outlier_map(SUMMARIES, "0.down"),
    "channels": lambda: plots.channel_profile(SUMMARIES[3]),
    "by index": lambda: plots.channel_profile(SUMMARIES[3], by_index=True),
    "tokens": lambda: plots.token_heatmap(SUMMARIES[3]),
    "spectrum": lambda: plots.spectrum(SPECTRA, LABELS, 12, 20, 88),
    "cut": lambda: plots.cut_error(SPECTRA, LABELS, None, 20),
    "sensitivity": lambda: sensitivity(selected=SITES[0].path),
    "plan": lambda: plots.plan_map(PLAN, SITES, {s.path: 0.01 for s in SITES}, SITES[0].path),
    "tradeoff": tradeoff,
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_json_in_the_house_look(name: str) -> None:
    layout = json.loads(FIGURES[name]().to_json())["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert "width" not in layout and layout["autosize"] and "title" not in layout


def drawn(figure) -> dict[str, list]:
    """predicted / measured → the line traces whose hover says so."""
    return {w: [t for t in figure.data if t.hovertemplate and w in t.hovertemplate] for w in ("predicted", "measured")}


@pytest.mark.parametrize("make", [sensitivity, tradeoff])
def test_predicted_is_dashed_and_hollow_measured_solid_and_filled(make) -> None:
    traces = drawn(make())
    assert traces["predicted"] and traces["measured"]
    for t in traces["predicted"]:
        assert t.line.dash == "dash" and t.marker.symbol.endswith("-open")
    for t in traces["measured"]:
        assert t.line.dash in (None, "solid") and not t.marker.symbol.endswith("-open")


def test_the_cut_is_a_prediction_and_says_so() -> None:
    figure = plots.cut_error(SPECTRA, LABELS, 12, 20)
    assert all(t.line.dash == "dash" and "predicted" in t.hovertemplate for t in figure.data)
    assert figure.layout.yaxis.type == "log" and "predicted" in figure.layout.yaxis.title.text


def test_log_axes_and_where_their_marks_stand() -> None:
    figure = plots.spectrum(SPECTRA, LABELS, 12, 20, 88)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert {s.x0 for s in figure.layout.shapes} == {12, 20}  # shapes take values
    assert sorted(a.x for a in figure.layout.annotations) == pytest.approx(np.log10([12, 20]))  # annotations do not
    assert sensitivity().layout.yaxis.type == tradeoff().layout.yaxis.type == "log"


def test_small_and_negative_points_lie_on_the_floor_with_their_number_in_the_hover() -> None:
    path = SITES[0].path
    points = {path: {0.5: Point(path, 0.5, 9, (-0.003, -0.001)), 0.9: Point(path, 0.9, 19, (-0.0009997, 0.0010003))}}
    (trace,) = (t for t in drawn(sensitivity(points))["measured"] if any(v is not None for v in t.y))
    assert [v for v in trace.y if v is not None] == [FLOOR, FLOOR]
    assert "-0.002" in str(trace.customdata) and "3e-07" in str(trace.customdata)


def test_sensitivity_is_one_pair_a_role_and_light() -> None:
    figure = sensitivity()
    assert len(figure.data) == 2 * len(ROLES)
    assert len(figure.to_json()) < 400_000
    assert len(sensitivity(selected=SITES[0].path).data) == 2 * len(ROLES) + 2


def test_the_selected_cell_is_outlined() -> None:
    figure = plots.outlier_map(SUMMARIES, "2.o")
    (shape,) = figure.layout.shapes
    row = list(figure.data[0].y).index("o")
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (1.5, 2.5, row - 0.5, row + 0.5)
    assert figure.data[0].customdata[row][2] == "2.o"
    assert not plots.outlier_map(SUMMARIES).layout.shapes


def test_plan_frames_the_dense_sites() -> None:
    figure = plots.plan_map(PLAN, SITES, {}, None)
    (frames,) = (t for t in figure.data if t.type == "scatter")
    assert set(frames.y) == {"v"} and len(frames.x) == 8 and frames.marker.symbol == "square-open"
    row = list(figure.data[0].y).index("q")
    assert figure.data[0].z[row][0] == pytest.approx(8 * 88 / 1920)
    assert figure.data[0].customdata[row][0] == "layers.0.q"


def test_the_present_plan_is_ringed_and_dense_a_star() -> None:
    symbols = [t.marker.symbol for t in tradeoff().data]
    assert symbols.count("circle-open") == 2 and "star" in symbols  # one is the predicted curve's hollow circle
    (ring,) = (t for t in tradeoff().data if t.marker.symbol == "circle-open" and t.mode == "markers")
    assert (ring.x[0], ring.y[0]) == (8.0, 21.0)


def test_the_sentence_equals_the_data() -> None:
    assert plots.outlier_sentence(SUMMARIES) == (
        "1 of 64 channels entering block 0's down_proj is 31 × louder than the median. Plain SVD does not know that."
    )
    two = plots.outlier_sentence([summary("2.qkv", {1: 10.0, 5: 8.0, 6: 5.0})])
    assert two.startswith("2 of 64 channels entering block 2's q, k and v projections are 8 to 10 × louder")


def test_captions_equal_the_data() -> None:
    assert "Channel 7 of 64 is 31 ×" in plots.channel_caption(SUMMARIES[3])
    assert "rank 20" in plots.spectrum_caption(SPECTRA, LABELS, 20)
    assert "50 %" in plots.spectrum_caption(SPECTRA, LABELS, 20)
    assert plots.sensitivity_caption(3, 504).startswith("3 of 504")
    assert plots.plan_caption(PLAN, SITES).startswith("8 of 56")
    one, two = (plots.tradeoff_caption(n, "strs, pivoted") for n in (1, 2))
    assert "1 plan measured" in one and "2 plans measured" in two and "(strs, pivoted)" in one


def test_the_token_picture_and_its_caption_follow_the_scaling() -> None:
    before, after = (plots.token_heatmap(SUMMARIES[3], alpha) for alpha in (None, 0.5))
    factors = plots.rms_after(SUMMARIES[3], 0.5) / SUMMARIES[3].rms
    expected = SUMMARIES[3].map_values * factors[SUMMARIES[3].map_channels]
    assert np.allclose(after.data[0].customdata, expected) and not np.allclose(before.data[0].customdata, expected)
    token, channel = np.unravel_index(expected.argmax(), expected.shape)
    said = f"{SUMMARIES[3].map_tokens[token]!r} in channel {SUMMARIES[3].map_channels[channel]}."
    assert said in plots.token_caption(SUMMARIES[3], 0.5)
