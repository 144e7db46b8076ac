"""Pictures of every page at 390, 1440 and 2560 px, light and dark: `python -m tests.e2e.screenshots FOLDER`."""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from ..conftest import free_port
from .conftest import CHROMIUM
from .pages import SCHEMES, WIDTHS, open_page, tabs
from .timing import start


def take(address: str, folder: Path) -> list[Path]:
    """One PNG a page, width and scheme, the whole page each."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with sync_playwright() as p:
        arguments = ["--no-sandbox", "--disable-background-networking", "--hide-scrollbars"]
        for width, scheme in itertools.product(WIDTHS, SCHEMES):
            browser = p.chromium.launch(executable_path=CHROMIUM, args=arguments)
            page = open_page(browser, address, width, scheme)
            for name in tabs(page):
                made.append(folder / f"{name.lower()}-{width}-{scheme}.png")
                page.screenshot(path=made[-1], full_page=True)
            browser.close()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of every page.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--address", help="of a running studio; otherwise one is started, with an empty store")
    options = parser.parse_args()
    process, address = None, options.address
    if address is None:
        port = free_port()
        process, address = start(port, tempfile.mkdtemp()), f"http://127.0.0.1:{port}"
        time.sleep(1)
        _wait_for(address)
    try:
        for path in take(address, options.folder):
            print(path)
    finally:
        if process is not None:
            process.kill()


def _wait_for(address: str, seconds: float = 60) -> None:
    """Until the address answers."""
    import urllib.error
    import urllib.request

    began = time.monotonic()
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() - began > seconds:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main()
