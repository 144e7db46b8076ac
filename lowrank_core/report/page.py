"""A report as one HTML file that opens anywhere, without a network: plotly is inside, once."""

import html
from collections.abc import Iterable
from dataclasses import dataclass

from ..plots import inline

STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --quiet: #4b5563; --line: #d1d5db; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f3f4f6; --quiet: #b0b7c3; --line: #4b5563; --bad: #fca5a5; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); padding-bottom: 0.4em; }
th, td { border-bottom: 1px solid var(--line); padding: 4px 12px 4px 0; text-align: right; vertical-align: top; }
th[scope="row"], .why { text-align: left; font-weight: normal; }
.worse td { color: var(--bad); }
.wide { overflow-x: auto; }
pre { border: 1px solid var(--line); padding: 8px; overflow-x: auto; }
.caption { color: var(--quiet); font-size: 0.9rem; }
"""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it: text, a table's HTML, code, or a figure with its caption."""

    title: str
    text: str = ""
    table: str = ""  # HTML that `report.table` made
    code: str = ""
    figure: object = None


def report(title: str, sections: Iterable[Section]) -> str:
    """The whole page as HTML; text and code are escaped, a table is taken as it is."""
    parts = []
    for i, s in enumerate(sections):
        parts.append(f"<h2>{html.escape(s.title)}</h2>")
        if s.figure is not None:
            parts.append(inline.piece(s.figure, f"figure-{i}"))
        if s.text:
            parts.append(f'<p class="{"caption" if s.figure is not None else ""}">{html.escape(s.text)}</p>')
        parts += [s.table, f"<pre><code>{html.escape(s.code)}</code></pre>" if s.code else ""]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style>{inline.script()}</head>'
        f"<body><main><h1>{html.escape(title)}</h1>{''.join(p for p in parts if p)}</main></body></html>"
    )
