"""The page's HTML as it leaves, and a start that leaves out what nobody asked for."""

import gc
import gzip
import inspect
import re
import urllib.request

import pytest

from lowrank_core.ui.front import preloads
from lowrank_core.ui.starting import without_collecting, without_stubs


def fetched(address: str, **headers) -> tuple[dict, bytes]:
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as reply:
        return {k.lower(): v for k, v in reply.headers.items()}, reply.read()


@pytest.fixture(scope="module")
def html(studio) -> str:
    return fetched(studio)[1].decode()


def test_who_links_to_the_page_shows_our_picture_and_words(studio, html):
    head = html.partition("</head>")[0]
    said = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):\w+)" content="([^"]*)">', head))
    assert said["og:title"] == "Lowrank Explorer" and "low-rank compression" in said["og:description"]
    assert said["og:image"] == said["twitter:image"] == f"{studio}/social.png"
    assert len(re.findall("og:image", head)) == 1 and "raw.githubusercontent" not in html and "@Gradio" not in html
    headers, picture = fetched(f"{studio}/social.png")
    assert headers["content-type"] == "image/png" and picture[:8] == b"\x89PNG\r\n\x1a\n"


def test_behind_a_proxy_the_picture_has_the_address_that_visitors_see(studio):
    seen = {"X-Forwarded-Host": "explorer.example", "X-Forwarded-Proto": "https", "Host": "explorer.example"}
    assert b'property="og:image" content="https://explorer.example/social.png"' in fetched(studio, **seen)[1]


def test_the_html_is_compressed_for_whom_it_may_be(studio, html):
    headers, body = fetched(studio, **{"Accept-Encoding": "gzip, br"})
    assert headers["content-encoding"] == "gzip" and len(body) < len(html) / 2
    assert "window.gradio_config" in gzip.decompress(body).decode()
    assert "content-encoding" not in fetched(studio)[0]


def test_plotlys_script_is_asked_for_at_once(studio, html):
    linked = re.findall(r'<link rel="modulepreload" crossorigin href="\./(assets/[^"]+)">', html)
    assert any("/PlotlyPlot-" in name for name in linked) and preloads() in html
    for name in linked:
        assert "javascript" in fetched(f"{studio}/{name}")[0]["content-type"]


def test_a_start_leaves_no_trace():
    before = inspect.getfile
    with pytest.raises(ZeroDivisionError), without_collecting(), without_stubs():
        assert not gc.isenabled() and inspect.getfile(gzip) == gzip.__file__
        _ = 1 / 0
    assert gc.isenabled() and inspect.getfile is before
