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
NAMES = "[...document.querySelector('.tab-wrapper .visually-hidden').children].map(t => t.textContent.trim())"


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
    """The name of every page, each opened and drawn; tabs that a narrow window hides are in its menu."""
    for name in page.evaluate(NAMES):
        open_tab(page, name)
        yield name


def open_tab(page: Page, name: str) -> None:
    """Open a page by its name."""
    tab = page.get_by_role("tab", name=name, exact=True)
    shown = next((t for t in tab.all() if t.is_visible()), None)
    if shown is None:
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text=name).first.click()
    else:
        shown.click()
    page.wait_for_function(SETTLED, timeout=20_000)
    page.wait_for_timeout(300)
