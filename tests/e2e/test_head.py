"""The head of the page: the recipe to take along, what is what, and what runs."""

import yaml

from lowrank_core.study.recipe import recipe_of
from lowrank_core.ui.squeeze import DEFAULTS

from .test_journeys import wait_for


def test_the_recipe_is_copied_and_the_help_opens(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy-recipe").click()
    wait_for(lambda: page.locator("#copy-recipe").inner_text() == "Copied", 5, "a word that it is copied")
    assert recipe_of(yaml.safe_load(page.evaluate("navigator.clipboard.readText()"))) == DEFAULTS
    wait_for(lambda: page.locator("#copy-recipe").inner_text() == "Copy recipe", 5, "the button as it was")
    page.get_by_role("button", name="What is what").focus()
    page.keyboard.press("Enter")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_where_nothing_may_be_copied_it_is_saved(page):
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    with page.expect_download() as download:
        page.locator("#copy-recipe").click()
    assert download.value.suggested_filename == "recipe.yaml"


def test_the_head_tells_what_runs_and_stops_it(page):
    job, stop = page.locator("#job :is(.idle, .running)"), page.locator("#job-stop")
    assert job.inner_text() == "idle" and not stop.is_visible()
    page.get_by_role("tab", name="Measure").click()
    page.get_by_role("button", name="Sweep").click()
    wait_for(lambda: job.inner_text().startswith("Sweep"), 60, "what runs")
    stop.click()
    wait_for(lambda: job.inner_text() == "idle" and not stop.is_visible(), 30, "the end")
    assert "Stopped after" in page.locator("#sweep-status").inner_text()
