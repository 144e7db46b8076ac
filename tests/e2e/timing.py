"""Measure what a visitor waits for: `python -m tests.e2e.timing`; prints milliseconds, medians and worst cases.

First plot after the process's start; predicted curves after a key press; first measured point; Stop.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PLOT = "#plot-a .js-plotly-plot .plot-container"
# stamps in the page itself, so that the driver's own round trips are not counted
WATCH = """() => {
  window.stamps = {};
  const note = (key, selector) => new MutationObserver(() => { window.stamps[key] = performance.now(); }).observe(
    document.querySelector(selector), {subtree: true, childList: true, characterData: true, attributes: true});
  note('readout', '#plan-readout'); note('curves', '#plot-e');
}"""


def start(port: int, cache: str) -> subprocess.Popen:
    environment = {**os.environ, "LOWRANK_CACHE": cache}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=environment, **quiet)


def first_plot(browser, port: int, cache: str) -> float:
    """Seconds from the start of the process to the first plot in the page."""
    began = time.perf_counter()
    process = start(port, cache)
    while True:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"http://127.0.0.1:{port}", wait_until="commit")
    page.wait_for_selector(PLOT, timeout=60_000)
    taken = time.perf_counter() - began
    page.context.close()
    process.kill()
    process.wait()
    return taken


def wait(check, limit: float = 60) -> float:
    """Seconds until `check()` holds."""
    began = time.perf_counter()
    while not check():
        if time.perf_counter() - began > limit:
            raise TimeoutError
        time.sleep(0.005)
    return time.perf_counter() - began


def drags(page: Page, count: int) -> list[float]:
    """Seconds from a key press on the slider to the redrawn sensitivity plot, `count` times."""
    taken = []
    page.evaluate(WATCH)
    page.locator("#ratio input[type=range]").focus()
    for i in range(count):
        page.evaluate("() => { window.stamps = {}; window.pressed = performance.now(); }")
        page.keyboard.press("ArrowRight" if i < count // 2 else "ArrowLeft")
        page.wait_for_function("() => window.stamps.curves && window.stamps.readout", timeout=20_000)
        waited = "() => (Math.max(window.stamps.curves, window.stamps.readout) - window.pressed) / 1000"
        taken.append(page.evaluate(waited))
        time.sleep(0.15)
    return taken


def first_point(page: Page, text: Path) -> tuple[float, float]:
    """Seconds from a key press to the first measured point on a text whose spectra are known, and from Stop to rest."""
    status = page.locator("#status")
    page.get_by_text("Calibration text and more").click()
    page.locator("input[type=file]").first.set_input_files(text)
    wait(lambda: "Measuring" in status.inner_text())
    page.locator("#stop").click()
    wait(lambda: "Stopped" in status.inner_text())
    time.sleep(1)
    page.locator("#ratio input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    point = wait(lambda: "Measuring:" in status.inner_text())
    page.locator("#stop").click()
    return point, wait(lambda: "Stopped" in status.inner_text())


def show(name: str, seconds: list[float]) -> None:
    middle, worst = 1000 * statistics.median(seconds), 1000 * max(seconds)
    print(f"{name}: median {middle:.0f} ms, worst {worst:.0f} ms of {len(seconds)}")


def main() -> None:
    cache = tempfile.mkdtemp()
    text = Path(cache) / "own.txt"
    text.write_text("The old fox walked to the river and looked at the water. " * 1500)
    port = 7961
    with sync_playwright() as p:
        chromium = shutil.which("chromium")
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"])
        first_plot(browser, port, cache)  # warms the file cache
        show("first plot after start", [first_plot(browser, port, cache) for _ in range(5)])
        process = start(port, cache)
        wait(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(f"http://127.0.0.1:{port}")
        page.wait_for_selector(PLOT)
        time.sleep(12)  # the model is loaded behind the page
        page.get_by_role("tab", name="Squeeze").click()
        page.wait_for_selector("#plot-e .js-plotly-plot .plot-container")
        time.sleep(1)
        show("curves after a key press", drags(page, 20))
        points, stops = zip(*[first_point(page, text)], strict=True)
        show("first measured point", list(points))
        show("Stop", list(stops))
        process.kill()


if __name__ == "__main__":
    main()
