"""Clicks in plots, and plots as files."""

import csv
import time
import xml.etree.ElementTree as ET

import pytest

PLACE = """([name, x, y]) => {
  const plot = document.querySelector(`#${name} .js-plotly-plot`), axes = plot._fullLayout;
  plot.scrollIntoView({block: "center"});
  const box = plot.getBoundingClientRect();
  return [box.left + axes.xaxis._offset + axes.xaxis.d2p(x), box.top + axes.yaxis._offset + axes.yaxis.d2p(y)];
}"""


def click_at(page, name: str, x, y) -> None:
    """Click a plot at data coordinates."""
    at = page.evaluate(PLACE, [name, x, y])
    page.mouse.move(*at)
    time.sleep(0.2)  # plotly tells a click by what is hovered
    page.mouse.click(*at)


def test_a_click_in_the_map_selects_for_every_plot(page):
    for x, y, layer in ((3, "o", "block 3 · o"), (5, "qkv", "block 5 · q")):
        click_at(page, "plot-a", x, y)
        page.wait_for_function("s => document.querySelector('#site input').value === s", arg=layer, timeout=5000)
        page.wait_for_function("s => document.querySelector('#readout').innerText.startsWith(s)", arg=layer)


@pytest.mark.parametrize("name", ["plot-a", "plot-b", "plot-c", "plot-d"])
def test_plots_are_kept_as_svg_and_csv(page, name):
    with page.expect_download() as saved:
        page.locator(f"[data-plot={name}][data-as=svg]").click()
    assert ET.parse(saved.value.path()).getroot().tag.endswith("svg")
    with page.expect_download() as saved:
        page.locator(f"[data-plot={name}][data-as=csv]").click()
    with open(saved.value.path(), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 32 and {"trace", "x", "y"} <= set(rows[0])
