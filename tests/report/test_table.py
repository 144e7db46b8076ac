"""Tables say what they hold, and what is worse."""

import csv
import io

import pytest

from lowrank_core.report.table import as_csv, change, comparison, value
from lowrank_core.study.compare import Line

SMALLER = Line("weights", "bytes", 4e6, 3e6, "less", "counted", "why not")
SLOWER = Line("decode, batch 1", "tokens/s", 100.0, 90.0, "more", "median of 5", "two <products>", 0.03)
NOISY = Line("decode, batch 8", "tokens/s", 100.0, 98.0, "more", "median of 5", "noise", 0.03)
KL = Line("KL", "nats", 0.0, 0.25, "less", "64 windows", "0 would be dense")


@pytest.mark.parametrize(
    ("line", "worse", "said"), [(SMALLER, False, "-25.0 %"), (SLOWER, True, "-10.0 %"), (NOISY, False, "-2.0 %")]
)
def test_worse_means_beyond_noise(line, worse, said):
    assert line.worse is worse and change(line) == said


def test_a_figure_without_a_dense_one_is_a_difference():
    assert KL.change is None and KL.worse and change(KL) == "+0.2500 nats"


@pytest.mark.parametrize(
    ("number", "unit", "said"),
    [(26_240_000, "bytes", "26.24 MB"), (0.9375, "share", "93.75 %"), (6_560_000, "", "6,560,000"), (7.5, "", "7.500")],
)
def test_figures_read_well(number, unit, said):
    assert value(number, unit) == said


def test_what_is_worse_is_marked_in_words_too():
    text = comparison([SMALLER, SLOWER], "a <caption>")
    assert text.count('class="worse"') == 1 and "worse. two &lt;products&gt;" in text and "why not" not in text
    assert "a &lt;caption&gt;" in text and "median of 5" in text


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(as_csv([SMALLER, SLOWER], ("change", "worse")))))
    assert [r["worse"] for r in rows] == ["False", "True"] and float(rows[1]["compressed"]) == 90
    assert as_csv([]).strip() == ""
