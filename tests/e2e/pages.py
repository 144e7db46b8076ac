"""The studio's pages as a browser visits them: every tab, every width, light and dark."""

from collections.abc import Iterator

from playwright.sync_api import Browser, Page

WIDTHS = (390, 1440, 2560)
SCHEMES = ("light", "dark")
FIRST_PLOT = "#plot-a .js-plotly-plot .plot-container"
SETTLED = """() => [...document.querySelectorAll('[id^=plot-]:not([id$=-pick])')].filter(p => p.offsetParent)
  .map(p => p.querySelector('.js-plotly-plot')).every(p => p?.querySelector('.main-svg')
    && Math.abs(p.clientWidth - p._fullLayout.width) < 2)"""

# gradio keeps all names in a hidden row, by which it measures which of them fit
NAMES = "[...document.querySelectorAll(`.tab-container button[role=tab]`)].map(t => t.textContent.trim())"


def open_page(browser: Browser, address: str, width: int, scheme: str) -> Page:
    """The studio in a new context, its first plot drawn."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(FIRST_PLOT, timeout=60_000)
    return page


def tabs(page: Page) -> Iterator[str]:
    """The name of every page, each opened and drawn."""
    for name in page.evaluate(NAMES):
        open_tab(page, name)
        yield name


def open_tab(page: Page, name: str) -> None:
    """Open a page by its name."""
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_function(SETTLED, timeout=20_000)
    page.wait_for_timeout(300)
