"""The comparison of two models, and the rows of a sweep, as tables: HTML for pages and reports, CSV for programs."""

import csv
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Protocol

BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class Line(Protocol):
    """One figure of both models."""

    name: str
    unit: str
    dense: float | None
    compressed: float
    setting: str
    why: str

    @property
    def change(self) -> float | None: ...

    @property
    def worse(self) -> bool: ...


def value(number: float | None, unit: str) -> str:
    """A figure with its unit, in a few digits; a dash where there is none."""
    if number is None:
        return "–"
    if unit == "bytes":
        size, name = next(((n, s) for n, s in BYTES if abs(number) >= n), (1, "B"))
        return f"{number / size:.4g} {name}"
    if unit == "share":
        return f"{100 * number:.2f} %"
    if unit == "nats":
        return f"{number:.4f} nats"
    if unit == "ms":
        return f"{number:.3g} ms"
    if unit == "tokens/s":
        return f"{number:,.0f} {unit}"
    return f"{number:,.0f}" if number == int(number) else f"{number:,.3f}"


def change(line: Line) -> str:
    """The relative change in percent; the difference where the dense figure is 0; a dash where there is none."""
    if line.dense is None:
        return "–"
    if line.change is None:
        return f"+{value(line.compressed, line.unit)}"
    return f"{100 * line.change:+.1f} %" if abs(line.change) < 10 else f"× {line.change + 1:.3g}"


def comparison(lines: Iterable[Line], caption: str) -> str:
    """An HTML table: dense, compressed, change; what is worse is red, says "worse", and why."""
    rows = []
    for line in lines:
        kind = ' class="worse"' if line.worse else ""
        word = f"worse. {line.why}" if line.worse else ""
        cells = (value(line.dense, line.unit), value(line.compressed, line.unit), change(line))
        rows.append(
            f'<tr{kind}><th scope="row" title="{html.escape(line.setting)}">{html.escape(line.name)}</th>'
            f"{''.join(f'<td>{html.escape(c)}</td>' for c in cells)}<td class='why'>{html.escape(word)}</td></tr>"
        )
    head = "".join(f'<th scope="col">{h}</th>' for h in ("", "dense", "compressed", "change", "why"))
    settings = "".join(
        f"<li><b>{html.escape(', '.join(names))}</b>: {html.escape(setting)}.</li>"
        for setting, names in _by_setting(lines).items()
    )
    return (
        f'<div class="wide"><table class="comparison"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f"<details><summary>How each was measured</summary><ul>{settings}</ul></details>"
    )


def _by_setting(lines: Iterable[Line]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        found.setdefault(line.setting, []).append(line.name)
    return found


def rows_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str) -> str:
    """A plain HTML table."""
    head = "".join(f'<th scope="col">{html.escape(str(c))}</th>' for c in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(c))}</td>' for c in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="comparison"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def as_csv(rows: Sequence[Any], extra: Iterable[str] = ()) -> str:
    """Dataclass values as CSV with a header; `extra`: properties to add as columns."""
    extra = tuple(extra)
    text = io.StringIO()
    names = [f.name for f in fields(rows[0])] if rows and is_dataclass(rows[0]) else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *extra])
    for row in rows:
        found = asdict(row)
        writer.writerow([*(found[n] for n in names), *(getattr(row, n) for n in extra)])
    return text.getvalue()
