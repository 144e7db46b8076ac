"""Lessons 1 to 4: the brief's figures, worked out here by hand, against the computations and the words."""

from math import log, sqrt

import numpy as np
import pytest

from lowrank_core.lessons import LESSONS, cut, inputs, read_words, scale, whole
from lowrank_core.lessons.plane import WEIGHT, covariance, cut_in, output_error, weight_error

CUT, INPUTS, SCALE, WHOLE = LESSONS[:4]


def said(lesson) -> str:
    words = read_words(lesson.key).filled(lesson.figures(None, None))
    return " ".join([words.before, words.question, *words.options, words.after])


def test_rank_one_loses_the_short_axis():
    errors = {degrees: weight_error(cut.keeping(degrees)) for degrees in range(-90, 91)}
    assert min(errors, key=errors.get) == 0 and errors[0] == pytest.approx(1 / sqrt(10))
    assert "31.6 %" in said(CUT) and read_words(CUT.key).right == 0
    assert "31.6 %" in CUT.picture(None, None, 0).caption


def test_the_same_cut_loses_nearly_all_of_the_output():
    expected = sqrt(2.0**2 / (0.6**2 + 2.0**2))
    shown = INPUTS.picture(None, None, INPUTS.control(None).told)
    assert "95.8 %" in shown.caption and f"{100 * expected:.1f}" == "95.8"
    words = read_words(INPUTS.key)
    assert words.options[words.right] == "{{output_error}}" and "95.8 %" in said(INPUTS) and "31.6 %" in said(INPUTS)
    assert np.abs(shown.outputs[1]).max() == pytest.approx(2.0, abs=0.01)  # the outline is one spread out


def test_the_kept_direction_flips_at_log_3_over_log_10():
    assert pytest.approx(log(3) / log(10)) == scale.FLIP and f"{scale.FLIP:.3f}" == "0.477"
    for alpha, kept in ((scale.FLIP - 1e-6, 0), (scale.FLIP + 1e-6, 1)):
        assert int(np.abs(scale.scaled(alpha)).sum(0).argmax()) == kept
    assert output_error(scale.scaled(0.48), scale.INPUTS) == pytest.approx(0.6 / sqrt(0.6**2 + 2.0**2))
    assert weight_error(scale.scaled(0.48)) == pytest.approx(3 * weight_error(scale.scaled(0.47)))  # "it triples"
    for figure in ("28.7 %", "94.9 %", "95.8 %", "31.6 %", "0.477"):
        assert figure in said(SCALE)
    told = SCALE.picture(None, None, SCALE.control(None).told).caption
    assert "28.7 %" in told and "94.9 %" in told


@pytest.mark.parametrize("correlation", [0, 0.3, 0.9, 0.95])
def test_any_root_gives_the_best_cut_and_its_tail_is_the_error(correlation):
    c = covariance(0.2, 2.0, correlation)
    cuts = [cut_in(root) for root in whole.roots(correlation).values()]
    np.testing.assert_allclose(*cuts, atol=1e-12)
    error = output_error(cuts[0], c)
    for root in whole.roots(correlation).values():
        np.testing.assert_allclose(root @ root.T, c, atol=1e-12)
        assert whole.tail(root) == pytest.approx(error)
    values = np.linalg.eigvalsh(WEIGHT @ c @ WEIGHT.T)
    assert error == pytest.approx(sqrt(values[0] / values.sum()))
    assert error <= output_error(whole.DIAGONAL, c) + 1e-12


def test_the_words_on_the_covariance():
    lowest = np.linalg.eigvalsh(WEIGHT @ covariance(0.2, 2.0, 0.9) @ WEIGHT.T)
    assert f"{100 * sqrt(lowest[0] / lowest.sum()):.1f} %" == "12.1 %"
    assert said(WHOLE).count("12.1 %") == 2 and "28.7 %" in said(WHOLE) and "0.9" in said(WHOLE)


@pytest.mark.parametrize("lesson", [cut, inputs, scale, whole], ids=lambda m: m.LESSON.key)
def test_nothing_leaves_the_picture(lesson):
    control = lesson.LESSON.control(None)
    for value in np.linspace(control.low, control.high, 9):
        shown = lesson.LESSON.picture(None, None, value)
        for points in (shown.inputs, shown.outputs, *shown.cuts.values()):
            assert np.isfinite(points).all() and np.abs(points).max() < shown.reach
