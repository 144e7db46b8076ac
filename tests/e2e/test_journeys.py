"""What visitors do, in a real browser."""

import re
import time


def status(page) -> str:
    return page.locator("#status").inner_text()


def wait_for(check, seconds: float, what: str) -> float:
    """Seconds until `check()` holds; fails after `seconds`."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if check():
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"{what} not within {seconds} s")


def open_squeeze(page):
    page.get_by_role("tab", name="Squeeze").click()
    page.wait_for_selector("#plot-e .js-plotly-plot .plot-container", timeout=60_000)
    return page.locator("#ratio input[type=range]")


def test_a_visitor_looks(page):
    assert "louder than the median" in page.locator("#sentence").inner_text()
    before = page.locator("#readout").inner_text()
    page.locator("#see-keep input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    wait_for(lambda: page.locator("#readout").inner_text() != before, 5, "the readout follows the keep slider")
    page.locator("#how").get_by_text("Tokens").click()
    wait_for(lambda: "by its loudest token" in page.locator("#plot-b").inner_html(), 5, "the token picture")


def test_a_researcher_drags(page):
    slider = open_squeeze(page)
    slider.focus()
    page.keyboard.press("ArrowRight")
    wait_for(lambda: "31 %" in page.locator("#plan-readout").inner_text(), 5, "the plan follows the arrow key")
    wait_for(lambda: re.search("Measur", status(page)), 60, "measuring starts by itself")
    for _ in range(4):  # a newer drag supersedes the one that runs
        page.keyboard.press("ArrowRight")
    wait_for(lambda: "35 %" in page.locator("#plan-readout").inner_text(), 5, "the newer drag's plan")
    wait_for(lambda: "Measured: perplexity" in status(page), 120, "the plan's perplexity")
    page.locator("#method input").click()
    page.get_by_role("option", name="SVD", exact=True).click()
    box = page.locator("#ratio input[type=number]")
    box.fill("0.45")
    box.press("Enter")
    wait_for(lambda: "45 %" in page.locator("#plan-readout").inner_text(), 10, "a typed number does what a drag does")
    box.fill("0")
    box.press("Enter")
    wait_for(lambda: "above 0 and below 1" in status(page), 5, "a bad ratio is said")
    dashed = page.locator("#plot-e .scatterlayer path.js-line[style*=dasharray]").count()
    assert dashed > 0, "predicted lines are dashed"


def test_measuring_stops_and_goes_on(page, tmp_path):
    text = tmp_path / "own.txt"
    text.write_text("The old fox walked to the river and looked at the water. " * 500)
    open_squeeze(page)
    page.get_by_text("Calibration text and more").click()
    page.locator("input[type=file]").first.set_input_files(text)
    wait_for(lambda: "Measuring" in status(page), 90, "measuring on one's own text")
    page.locator("#stop").click()
    wait_for(lambda: "Stopped" in status(page), 1.5, "Stop")
    time.sleep(1.5)
    assert "Stopped" in status(page)
    page.locator("#resume").click()
    wait_for(lambda: "Measuring" in status(page), 30, "it goes on")
    page.locator("#stop").click()


def test_a_wrong_model_loses_nothing(page):
    page.get_by_role("button", name="Load model").click()
    page.locator("#model-name textarea, #model-name input").first.fill("/no/such/model")
    page.locator("#model-load").click()
    wait_for(lambda: "There is no model" in page.locator("#trouble").inner_text(), 20, "the error")
    page.get_by_role("tab", name="Chat").click()
    page.locator("#chat-box textarea").fill("What does a cow say?")
    page.locator("#chat-send").click()
    wait_for(lambda: "A cow says moo." in page.locator("#chat-dense").inner_text(), 60, "the dense reply")
    wait_for(lambda: "The same for" in page.locator("#parting").inner_text(), 30, "where they part")
    assert page.locator("#chat-compressed").inner_text().strip()
    page.wait_for_selector("#strip-tokens .strip", timeout=60_000)
    page.locator(".strip").focus()
    page.keyboard.press("ArrowRight")
    assert "KL" in page.locator(".strip-tip").inner_text() and "Dense: " in page.locator(".strip-tip").inner_text()
    page.get_by_text("Sampling, system prompt").click()
    with page.expect_download() as saved:
        page.locator("#chat-markdown").click()
    assert "> A cow says moo." in saved.value.path().read_text("utf-8")


def test_a_phone_shows_it_all(browser, studio):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.goto(studio)
    page.wait_for_selector("#plot-a .js-plotly-plot .plot-container", timeout=30_000)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    context.close()
    assert wide <= 1, f"the page is {wide} px wider than a phone"


def test_a_link_is_followed_with_its_own_values(page, studio):
    """Also by a page that was opened on it and whose Squeeze tab, where the controls are, was not."""
    page.goto(f"{studio}/?windows=8&window=64&method=svd&ratio=0.2&kv_ratio=0.4&measure=none")
    wait_for(lambda: "KV keep 60 %" in page.locator("#strip").inner_text(), 60, "the link's plan")
    open_squeeze(page)
    assert page.locator("#kv-ratio input[type=number]").input_value() == "0.4"
