"""A studio in its own process and a headless Chromium; skipped, saying why, where there is no browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: the journeys need chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """The address of `python app.py` with an empty store."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["LOWRANK_CACHE"] = str(tmp_path_factory.mktemp("studio"))
    log = open(tmp_path_factory.mktemp("log") / "app.log", "w")
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log)
    for _ in range(300):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)
    log.close()


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
