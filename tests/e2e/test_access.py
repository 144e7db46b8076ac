"""Every page for everybody: no serious finding of axe, no request to another host, no mouse needed."""

import importlib.util
from pathlib import Path

import pytest

from .pages import open_page, tabs
from .test_learn import tab_to

FINDINGS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .filter(v => ["serious", "critical"].includes(v.impact) || v.id === "heading-order")
  .map(v => `${v.id}: ${v.help}: ${v.nodes.map(n => n.target.join(" ")).slice(0, 5).join("; ")}`)"""


def axe() -> str:
    """axe-core's source; skips, saying why, where the package that carries it is missing."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("NO AXE: pip install axe-playwright-python")
    return (Path(found.origin).parent / "axe.min.js").read_text("utf-8")


def findings(page) -> list[str]:
    """What axe finds twice: a finding on a part that was just being exchanged is none."""
    first = page.evaluate(FINDINGS)
    if first:
        page.wait_for_timeout(1500)
    return first and page.evaluate(FINDINGS)


WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_serious_on_any_page_and_none_is_too_wide(browser, studio, width, scheme):
    source = axe()
    page = open_page(browser, studio, width, scheme)
    page.evaluate(source)
    found = {name: (findings(page), page.evaluate(WIDER)) for name in tabs(page)}
    page.context.close()
    assert len(found) >= 4 and not any(said for said, _ in found.values()), found
    assert all(extra <= 1 for _, extra in found.values()), found


def test_no_page_asks_another_host(browser, studio):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page, asked = context.new_page(), []
    page.on("request", lambda r: asked.append(r.url))
    page.on("websocket", lambda w: asked.append(w.url))
    page.goto(studio)
    page.wait_for_selector("#plot-a .js-plotly-plot .plot-container", timeout=60_000)
    names = list(tabs(page))
    context.close()
    own = (studio, studio.replace("http:", "ws:"), "data:", "blob:")
    assert len(names) >= 4 and len(asked) > 5
    assert not [url for url in asked if not url.startswith(own)]


def test_no_page_is_too_wide_for_a_wide_window(browser, studio):
    page = open_page(browser, studio, 2560, "light")
    wide = {name: page.evaluate(WIDER) for name in tabs(page)}
    page.context.close()
    assert all(extra <= 1 for extra in wide.values()), wide


def test_a_chat_needs_no_mouse(page):
    def press_until(check: str, most: int = 60) -> None:
        for _ in range(most):
            if page.evaluate(f"(() => {{ const at = document.activeElement; return {check}; }})()"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"no focus where {check}")

    press_until("at.role === 'tab' || at.getAttribute('role') === 'tab'")
    for _ in range(8):
        if page.evaluate("document.activeElement.innerText.trim()") == "Chat":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    press_until("!!at.closest('#chat-box')")
    page.keyboard.type("What does a cow say?")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#chat-dense').innerText.includes('moo')", timeout=90_000)


def test_see_needs_no_mouse_and_says_what_changed(page):
    """The layer, the slider and the picture of channels by keys alone; what they change is a live region."""
    page.locator("#site input").focus()
    first = page.locator("#site input").input_value()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_function("s => document.querySelector('#site input').value !== s", arg=first, timeout=5000)
    layer = page.locator("#site input").input_value()
    page.wait_for_function("s => document.querySelector('#readout').innerText.startsWith(s)", arg=layer, timeout=5000)
    tab_to(page, "#how input")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#how label.selected').innerText.trim() === 'By channel'")
    tab_to(page, "#see-keep input[type=range]")
    before = page.locator("#readout").inner_text()
    assert page.locator("#readout").get_attribute("aria-live") == "polite"
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("s => document.querySelector('#readout').innerText !== s", arg=before, timeout=5000)
