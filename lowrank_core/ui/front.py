"""The page's HTML on its way to the browser: with our picture and words for who links to it, with the scripts it will
need named in its head so that they are fetched at once, and compressed."""

from __future__ import annotations

import gzip
import re
from html import escape
from pathlib import Path

import gradio
from gradio.route_utils import get_root_url
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..settings import ASSETS

TITLE = "Lowrank Explorer"
LINE = "See what low-rank compression does to a language model."
PICTURE = "social.png"
SCRIPTS = ("PlotlyPlot", "Plot", "Blocks")  # gradio asks for them one after the other, plotly's 4.6 MB last
GRADIOS_OWN = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')


class Front:
    """ASGI middleware around gradio's app: its first page edited, the social picture served, all else as it is."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self.scripts = preloads()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
        elif scope["path"] == f"/{PICTURE}":
            await FileResponse(ASSETS / PICTURE)(scope, receive, send)
        elif scope["path"] == "/":
            await self._page(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The first page, read whole before it is sent on."""
        request, started, body = Request(scope), None, bytearray()

        async def collect(message: Message) -> None:
            nonlocal started, body
            if message["type"] == "http.response.start":
                started = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            headers = MutableHeaders(raw=started["headers"])
            if body and headers.get("content-type", "").startswith("text/html"):
                body = self._edited(bytes(body), request)
                if "gzip" in request.headers.get("accept-encoding", ""):
                    body = gzip.compress(body, 5)
                    headers["content-encoding"] = "gzip"
                headers["content-length"] = str(len(body))
                headers.add_vary_header("accept-encoding")
            await send(started)
            await send({"type": "http.response.body", "body": bytes(body)})

        await self.app(scope, receive, collect)

    def _edited(self, body: bytes, request: Request) -> bytes:
        root = get_root_url(request, "/", request.scope.get("root_path") or None)
        head, end, rest = body.partition(b"</head>")
        return GRADIOS_OWN.sub(b"", head) + (self.scripts + words(root)).encode() + end + rest


def preloads() -> str:
    """Links to gradio's scripts that the first plot waits for."""
    folder = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    found = (f.name for name in SCRIPTS for f in sorted(folder.glob(f"{name}-*.js")))
    return "".join(f'<link rel="modulepreload" crossorigin href="./assets/{name}">' for name in found)


def words(root: str) -> str:
    """What a message or a post that links to the page shows of it."""
    picture = f"{root.rstrip('/')}/{PICTURE}"
    said = {"title": TITLE, "description": LINE, "image": picture}
    made = [f'<meta name="description" content="{LINE}">', '<meta property="og:type" content="website">']
    made += [f'<meta property="og:url" content="{escape(root)}">']
    made += ['<meta name="twitter:card" content="summary_large_image">']
    made += [f'<meta property="og:{k}" content="{escape(v)}">' for k, v in said.items()]
    made += [f'<meta name="twitter:{k}" content="{escape(v)}">' for k, v in said.items()]
    return "".join(made)
