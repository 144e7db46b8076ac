"""Measure's page in a real browser: the table, and a report that opens without a network."""

import yaml


def test_a_plan_is_measured_and_taken_away(page, browser, tmp_path):
    page.get_by_role("tab", name="Measure").click()
    page.locator("#measure").click()
    page.wait_for_selector("#comparison table", timeout=120_000)
    rows = page.locator("#comparison tbody tr")
    assert rows.count() == 14 and "-25" in rows.nth(0).inner_text()
    assert page.locator("#comparison tr.worse").filter(has_text="perplexity").count() == 1
    with page.expect_download() as saved:
        page.locator("#export-recipe").click()
    assert yaml.safe_load(saved.value.path().read_text("utf-8"))["ratio"] == 0.3
    page.set_viewport_size({"width": 390, "height": 844})  # the table scrolls in its place: the page does not
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 1440, "height": 1000})
    page.locator("#export-folder").click()
    page.wait_for_selector("#export-file a[href*='.zip']", timeout=60_000)
    page.wait_for_selector("#loaded:has(.idle)")
    assert page.locator(".toast-wrap .error, .toast-body.error").count() == 0
    page.locator("#export-report").click()
    page.wait_for_selector("#export-file a[href*='.html']", timeout=60_000)
    with page.expect_download() as saved:
        page.locator("#export-file a").first.click()
    report = tmp_path / "report.html"
    saved.value.save_as(report)
    alone = browser.new_context(offline=True)
    tab, asked = alone.new_page(), []
    tab.on("request", lambda r: asked.append(r.url))
    tab.goto(report.as_uri())
    tab.wait_for_selector("#figure-6 .main-svg, #figure-5 .main-svg", timeout=20_000)
    assert tab.locator(".js-plotly-plot").count() == 6 and tab.locator("table.comparison").count() == 1
    alone.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
