"""Measure what a visitor waits for: `python -m tests.e2e.timing`; prints milliseconds, medians and worst cases.

First plot after the process's start and what the page weighs; marks in See and predicted curves in Squeeze after a key
press; first measured point; Stop; how long the page is held up while two chats of 500 tokens grow.
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
# stamps in the page itself, so that the driver's own round trips are not counted: when a text was last another one
WATCH = """() => {
  window.stamps = {};
  const note = (key, place, selector) => {
    const part = document.querySelector(place);
    const read = () => [...part.querySelectorAll(selector)].map(p => p.textContent).join();
    if (!part) return;  // of a page that was not opened yet there is none
    let before = read();
    new MutationObserver(() => {
      if (read() !== before) { before = read(); window.stamps[key] = performance.now(); }
    }).observe(part, {subtree: true, childList: true, characterData: true});
  };
  note('readout', '#plan-readout', '.prose'); note('curves', '#plot-e', '.annotation-text');
  note('see', '#plot-d', '.annotation-text'); note('table', '#readout', '.prose');
}"""
HOLD_UPS = """() => {
  window.held = []; window.grown = 0;
  new PerformanceObserver(l => l.getEntries().forEach(e => window.held.push(e.duration))).observe(
    {entryTypes: ['longtask']});  // what takes longer than 50 ms
  new MutationObserver(() => window.grown++).observe(document.querySelector('#chat-dense'),
    {subtree: true, childList: true, characterData: true});
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


def drags(page: Page, count: int, slider: str = "#ratio", what: str = "curves", beside: str = "readout") -> list[float]:
    """Seconds from a key press on a slider until a plot and a text beside it are drawn again, `count` times."""
    taken = []
    page.evaluate(WATCH)
    page.locator(f"{slider} input[type=range]").focus()
    for i in range(count):
        page.evaluate("() => { window.stamps = {}; window.pressed = performance.now(); }")
        page.keyboard.press("ArrowRight" if i < count // 2 else "ArrowLeft")
        page.wait_for_function(f"() => window.stamps.{what} && window.stamps.{beside}", timeout=20_000)
        waited = f"() => (Math.max(window.stamps.{what}, window.stamps.{beside}) - window.pressed) / 1000"
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


def long_chat(page: Page) -> tuple[int, list[float]]:
    """How often the page was drawn anew while both chats grew to 500 tokens, and the seconds of each hold-up."""
    page.get_by_role("tab", name="Chat").click()
    page.get_by_text("Sampling, system prompt").click()
    length = page.locator("#chat-length input[type=number]")
    length.fill("512")
    length.press("Enter")
    page.locator("#chat-raw input").check()
    page.evaluate(HOLD_UPS)
    page.locator("#chat-box textarea").fill("One day the")
    page.locator("#chat-send").click()
    page.wait_for_selector("#strip-tokens .strip", timeout=180_000)
    grown, held = page.evaluate("[window.grown, window.held]")
    return grown, [ms / 1000 for ms in held]


def weight(browser, port: int) -> tuple[float, float]:
    """MB that the first visit transfers: of scripts, and of all."""
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}")
    page.wait_for_selector(PLOT, timeout=120_000)
    sizes = page.evaluate(
        "performance.getEntries().filter(e => e.encodedBodySize).map(e => [e.initiatorType, e.encodedBodySize])"
    )
    page.context.close()
    return sum(n for kind, n in sizes if kind == "script") / 1e6, sum(n for _, n in sizes) / 1e6


def show(name: str, seconds: list[float]) -> None:
    ordered = [1000 * s for s in sorted(seconds)]
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    middle = statistics.median(ordered)
    print(f"{name}: median {middle:.0f} ms, p95 {p95:.0f} ms, worst {ordered[-1]:.0f} ms of {len(seconds)}", flush=True)


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
        print("first visit: {1:.1f} MB, of that scripts {0:.1f} MB".format(*weight(browser, port)))
        show("marks in See after a key press", drags(page, 20, "#see-keep", "see", "table"))
        page.get_by_role("tab", name="Squeeze").click()
        page.wait_for_selector("#plot-e .js-plotly-plot .plot-container")
        time.sleep(1)
        show("curves after a key press", drags(page, 20))
        points, stops = zip(*[first_point(page, text)], strict=True)
        show("first measured point", list(points))
        show("Stop", list(stops))
        time.sleep(2)
        grown, held = long_chat(page)
        print(f"two chats of 500 tokens: drawn {grown} times, {len(held)} of them held up for more than 50 ms")
        show("those", held or [0.0])
        process.kill()


if __name__ == "__main__":
    main()
