"""A model is loaded in a real browser: what is said before, and a folder that was saved compressed on every page."""

import pytest

from lowrank_core.study.compress import run
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.steps import save

from .test_journeys import open_squeeze, status, wait_for


@pytest.fixture
def saved(tiny, store, tmp_path):
    """A folder made from the tiny model by the library."""
    made = run(Recipe(model=str(tiny), ratio=0.4, windows=4, window=32), store)
    save(made, tmp_path / "small")
    return tmp_path / "small"


def named(page, name: str) -> None:
    box = page.locator("#model-name input")
    box.fill(name)
    box.press("Enter")


def test_a_saved_folder_opens(page, saved, tiny):
    page.get_by_role("button", name="Load model").click()
    estimate = page.locator("#model-estimate")
    named(page, str(saved))
    wait_for(lambda: "saved compressed" in estimate.inner_text(), 20, "what it takes")
    assert "memory to work on" in estimate.inner_text() and "tokens of 'demo'" in estimate.inner_text()
    page.locator("#model-load").click()
    strip, trouble = page.locator("#strip"), page.locator("#trouble")
    wait_for(lambda: "Statistics" in trouble.inner_text(), 60, "it says how far it is")
    wait_for(lambda: "saved compressed" in strip.inner_text(), 120, "it is loaded")
    assert "small" in strip.inner_text() and "ratio 40 %" in strip.inner_text()
    assert "as they are now" in page.locator("#sentence").inner_text()
    page.wait_for_selector("#plot-a .heatmaplayer", timeout=20_000)
    assert "compressed already" in page.locator("#plot-c").inner_html()

    slider = open_squeeze(page)
    said = "What is compressed already is not squeezed again"
    assert said in status(page) and f"load {tiny}" in status(page)
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1500)
    assert said in status(page), "nothing else begins when the slider rests"
    page.wait_for_selector("#plot-f .heatmaplayer", timeout=20_000)

    page.get_by_role("tab", name="Chat").click()
    sides = [page.locator(f"#chat-{side}-side input") for side in ("left", "right")]
    wait_for(lambda: sides[1].input_value() == "Saved: small", 10, "it is one side")
    assert sides[0].input_value() == f"Dense: {tiny}"
    page.locator("#chat-box textarea").fill("cow")
    page.locator("#chat-send").click()
    page.wait_for_selector("#strip-tokens .strip", timeout=90_000)
