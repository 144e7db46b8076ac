"""A headless Chromium on the studio; skipped, saying why, where there is no browser."""

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: the journeys need chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, studio):
    """The open studio, its first plot drawn; fails on a request to any other host."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    tab = context.new_page()
    elsewhere: list[str] = []
    tab.on("request", lambda r: elsewhere.append(r.url) if not r.url.startswith((studio, "data:", "blob:")) else None)
    tab.goto(studio)
    tab.wait_for_selector("#plot-a .js-plotly-plot .plot-container", timeout=30_000)
    yield tab
    context.close()
    assert not elsewhere, f"requests to other hosts: {elsewhere}"
