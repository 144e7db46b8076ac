"""The lessons' pictures: in the house's look, measured lines solid, the slider's place marked, light enough to drag."""

import json
import time

import pytest

from lowrank_core.lessons import LESSONS, Layers
from lowrank_core.lessons.bundled import bundled
from lowrank_core.settings import COMPARED
from lowrank_core.ui import learn_handlers as handlers

STUDY = bundled().study
LAYERS = Layers(
    STUDY.body.sites,
    lambda: "model.layers.0.mlp.down_proj",
    lambda path: [STUDY.spectrum(path, method) for method in COMPARED],
    "the bundled text",
)
SHOWN = [(lesson, choice) for lesson in LESSONS for _, choice in list(lesson.choices(LAYERS))[:2] or [("", None)]]


@pytest.mark.parametrize(("lesson", "choice"), SHOWN, ids=lambda x: getattr(x, "key", x))
def test_every_position_of_the_slider_has_a_picture(lesson, choice):
    control, seen = lesson.control(choice), set()
    for value in (control.low, control.start, control.told, control.high):
        figure, caption = handlers.picture(lesson, LAYERS, choice, value)
        made = figure.to_json()
        layout = json.loads(made)["layout"]
        assert layout["paper_bgcolor"] == "rgba(0,0,0,0)" and "width" not in layout and len(made) < 120_000
        assert "NaN" not in made and caption.endswith(".")
        seen.add(caption)
    assert len(seen) >= 2, "the slider changes what is said"
    assert control.low <= min(control.start, control.told) and max(control.start, control.told) <= control.high


@pytest.mark.parametrize("key", ["5-nested", "6-which", "7-cache"])
def test_what_is_measured_is_solid(key):
    lesson = next(x for x in LESSONS if x.key == key)
    figure, caption = handlers.picture(lesson, LAYERS, lesson.first(LAYERS), lesson.control(None).told)
    assert all(t.line.dash in (None, "solid") and "measured" in t.hovertemplate for t in figure.data)
    (mark,) = figure.layout.shapes
    assert mark.x0 == lesson.control(None).told and "easured" in caption


def test_what_is_predicted_says_so():
    figure, caption = handlers.picture(LESSONS[7], LAYERS, None, 0.5)
    assert all(t.line.dash == "dash" for t in figure.data) and "Predicted" in caption


def test_the_search_fills_what_is_applied():
    figure, _ = handlers.picture(LESSONS[5], LAYERS, "all", 1)
    left_out, applied, keeps = figure.data
    cut = next(s for s in figure.layout.shapes if s.type == "line").x0
    assert left_out.marker.symbol == "circle-open" and applied.marker.symbol == "circle"
    assert max(left_out.x) < cut <= min(applied.x) and len(left_out.x) + len(applied.x) == 9 * len(LAYERS.sites)
    assert keeps.z.shape == (7, 8)


@pytest.mark.parametrize(("lesson", "choice"), SHOWN, ids=lambda x: getattr(x, "key", x))
def test_a_drag_is_instant(lesson, choice):
    """Seconds of this process, so that what else runs on the machine does not count."""
    control, taken = lesson.control(choice), []
    for value in (control.start, control.low, control.high, control.told):
        began = time.process_time()
        handlers.picture(lesson, LAYERS, choice, value)[0].to_json()
        taken.append(time.process_time() - began)
    assert sorted(taken)[1] < 0.1


def test_the_map_is_a_card_for_each_system():
    made = handlers.field_cards()
    assert made.count("<article>") == made.count('href="https://arxiv.org/abs/') >= 16
    assert "Told from memory" in made and "Read in a transcription" in made
