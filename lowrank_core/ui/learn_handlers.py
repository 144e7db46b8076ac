"""What the Learn page shows: a lesson's words with its figures, its picture at a position of the slider, the map."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from .. import plots
from ..lessons import LESSONS, Layers, Lesson, Words, field_map, read_words
from ..lessons.latents import Latents
from ..lessons.nested import Errors
from ..lessons.plane import Plane
from ..lessons.search import Replay
from ..lessons.split import Split
from ..lessons.yours import Cut
from .see_handlers import loudest_site
from .view import View
from .words import LABELS


def layers_of(lesson: Lesson, read: Callable[[str], View], name: str) -> Layers:
    """The loaded model as a lesson reads it; nothing for those that do not."""
    if not lesson.reads_model:
        return Layers()
    view = read(name)
    setting = str(view.setting)
    if view.study.folder.name != name:  # a saved model has no dense weights to cut
        setting = f"Of {view.study.folder.name!r}. {setting}"
    return Layers(view.body.sites, lambda: loudest_site(view), view.site_spectra, setting)


def words(lesson: Lesson, layers: Layers, choice: str | None) -> Words:
    """A lesson's words, every figure computed."""
    return read_words(lesson.key).filled(lesson.figures(layers, choice))


def _errors(p: Errors):
    lines = {"at home": p.home, "away, nested": p.away, "away, ridge": p.ridge}
    return plots.lesson_errors(p.shares, lines, p.share, "k₁ / k", "output error")


def _latents(p: Latents):
    ranks = range(len(next(iter(p.lost.values()))))
    return plots.lesson_errors(ranks, p.lost, p.rank, "rank of the latents", "lost")


def _split(p: Split):
    return plots.lesson_errors(p.keeps, p.losses, p.keep, "keep of the first layer", "loss, nats per token", log=True)


def _cut(p: Cut):
    return plots.cut_error(p.spectra, LABELS, p.rank, p.break_even)


DRAWN: dict[type, Callable] = {
    Plane: plots.lesson_plane,
    Errors: _errors,
    Latents: _latents,
    Split: _split,
    Replay: plots.lesson_search,
    Cut: _cut,
}


def picture(lesson: Lesson, layers: Layers, choice: str | None, value: float) -> tuple:
    """The figure and its caption."""
    shown = lesson.picture(layers, choice, value)
    return DRAWN[type(shown)](shown), shown.caption


def before(lesson: Lesson, said: Words) -> str:
    """What stands beside the picture before the question."""
    number = LESSONS.index(lesson) + 1
    links = " · ".join(f"[{name}]({link})" for name, link in said.sources.items())
    return f"## {number} · {said.title}\n{said.before}\n\n*{links}*"


def told(said: Words, answer: int | None) -> str:
    """The answer to the question, once one of its options was taken."""
    if answer is None:
        return ""
    return f"**{'Right.' if answer == said.right else 'Not quite.'}** {said.after}"


def field_cards() -> str:
    """The map of the field as HTML: a card for each system, with its kind."""
    made = "".join(
        f'<article><p class="kind">{escape(kind)}</p><h3>{escape(c.name)}</h3><p>{escape(c.line)}</p>'
        f'<p class="source"><a href="{escape(c.link)}" rel="noreferrer" target="_blank">{escape(c.paper)}</a>'
        f"{'. ' + escape(c.seen) if c.seen else ''}</p></article>"
        for kind, cards in field_map().items()
        for c in cards
    )
    return f'<div class="cards">{made}</div>'
