"""The Learn page: eight lessons, one at a time, and the map of the field below; filled when it is first opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from ..lessons import LESSONS, Layers, Lesson, read_words
from . import learn_handlers as handlers
from . import plot
from .squeeze import Ratio
from .view import View

MATH = [{"left": "$$", "right": "$$", "display": True}]
OPTIONS = 3  # every question has as many


@dataclass(frozen=True)
class Learn:
    """The page's components; all lessons share them."""

    steps: gr.Radio
    words: gr.Markdown
    question: gr.Markdown
    options: tuple[gr.Button, ...]
    answer: gr.Markdown
    back: gr.Button
    forward: gr.Button
    plot: gr.Plot
    choice: gr.Dropdown
    slider: gr.Slider
    caption: gr.Markdown
    shown: gr.State  # (step, choice) of what is drawn; None before the first opening
    field: gr.HTML

    @property
    def outputs(self) -> list:
        return [
            self.steps, self.words, self.question, *self.options, self.answer, self.back, self.forward,
            self.choice, self.slider, self.plot, self.caption, self.shown,
        ]  # fmt: skip


def layout() -> Learn:
    """The page, empty: it is filled when its tab is opened."""
    titles = [(f"{i} {read_words(lesson.key).title}", i) for i, lesson in enumerate(LESSONS, 1)]
    steps = gr.Radio(titles, value=1, label="Step", elem_id="learn-steps")
    with gr.Row(elem_id="learn"):
        with gr.Column(scale=2, min_width=300):
            words = gr.Markdown(latex_delimiters=MATH, elem_id="learn-words")
            question = gr.Markdown(elem_id="learn-question")
            options = tuple(gr.Button("", size="sm", elem_id=f"learn-option-{i}") for i in range(OPTIONS))
            answer = gr.Markdown(latex_delimiters=MATH, elem_id="learn-answer")
        with gr.Column(scale=3, min_width=300):
            choice = gr.Dropdown([], label="Shown", visible=False, elem_id="learn-choice")
            drawn = gr.Plot(show_label=False, elem_id="plot-learn")
            slider = Ratio(0, 1, 0, step=0.01, label="", elem_id="learn-slider")
            caption = plot.under("plot-learn", "The lesson's picture", elem_id="learn-caption")
    with gr.Row(elem_classes="actions"):
        back = gr.Button("Back", size="sm", elem_id="learn-back")
        forward = gr.Button("Next", size="sm", variant="primary", elem_id="learn-next")
    gr.Markdown("## A map of the field\nWhat related systems do, and where to read about them.")
    field = gr.HTML(elem_id="field", padding=False)
    return Learn(
        steps, words, question, options, answer, back, forward, drawn, choice, slider, caption, gr.State(None), field
    )


def connect(page: Learn, tab: gr.Tab, model: gr.State, read: Callable[[str, str], View]) -> None:
    """Opening, stepping, dragging, choosing and answering; `read` gives the View of a model in a session."""
    answers = gr.State({})  # step → the option that was taken

    def layers_of(lesson: Lesson, name: str, request: gr.Request) -> Layers:
        return handlers.layers_of(lesson, lambda n: read(n, request.session_hash), name)

    def whole(request: gr.Request, name: str, step: int, choice: str | None, value: float | None, taken: dict) -> list:
        """Values of `Learn.outputs`; a choice or a value that is None stands where it begins."""
        lesson = LESSONS[step - 1]
        layers = layers_of(lesson, name, request)
        choices = list(lesson.choices(layers))
        if choice not in [v for _, v in choices]:
            choice = lesson.first(layers)
        control, answer = lesson.control(choice), taken.get(step)
        if value is None:
            value = control.start if answer is None else control.told
        said = handlers.words(lesson, layers, choice)
        slider = Ratio(control.low, control.high, value, step=control.step, label=control.label)
        buttons = [
            gr.Button(
                f"{text} · your answer" if i == answer != said.right else text,
                variant="primary" if answer is not None and i == said.right else "secondary",
            )
            for i, text in enumerate(said.options)
        ]
        return [
            step, handlers.before(lesson, said), f"**{said.question}**", *buttons, handlers.told(said, answer),
            gr.Button(interactive=step > 1), gr.Button(interactive=step < len(LESSONS)),
            gr.Dropdown(choices=choices, value=choice, label=lesson.choice, visible=bool(choices)),
            slider, *handlers.picture(lesson, layers, choice, value), (step, choice),
        ]  # fmt: skip

    def opened(request: gr.Request, name, step, choice, value, taken, shown):
        """Where the visitor was; at the first opening, where the lesson begins."""
        return [*whole(request, name, step, choice, value if shown else None, taken), handlers.field_cards()]

    def go(by: int) -> Callable:
        def going(request: gr.Request, name, step, taken):
            return whole(request, name, min(max(step + by, 1), len(LESSONS)), None, None, taken)

        return going

    def choose(request: gr.Request, name, step, choice, value, taken, shown):
        """Another choice; the slider stays where it is if it means the same there."""
        if (step, choice) == shown:  # gradio calls its own filling of the menu an input too
            return [gr.skip() for _ in page.outputs]
        lesson = LESSONS[step - 1]
        choices = lesson.choices(layers_of(lesson, name, request))
        same = len({lesson.control(v) for _, v in choices}) == 1
        return whole(request, name, step, choice, value if same else lesson.control(choice).start, taken)

    def renew(request: gr.Request, name, step, taken):
        """Another model was loaded."""
        return (
            whole(request, name, step, None, None, taken)
            if LESSONS[step - 1].reads_model
            else [gr.skip() for _ in page.outputs]
        )

    def draw(request: gr.Request, name, step, choice, value):
        lesson = LESSONS[step - 1]
        layers = layers_of(lesson, name, request)
        control = lesson.control(choice)
        try:
            value = min(max(float(value), control.low), control.high)
        except (TypeError, ValueError):
            value = control.start  # the number's box was emptied
        return handlers.picture(lesson, layers, choice, value)

    def take(option: int) -> Callable:
        def taking(request: gr.Request, name, step, choice, taken):
            taken = {**taken, step: option}
            lesson = LESSONS[step - 1]
            return [*whole(request, name, step, choice, lesson.control(choice).told, taken), taken]

        return taking

    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
    at = [model, page.steps]
    tab.select(
        opened,
        [*at, page.choice, page.slider, answers, page.shown],
        [*page.outputs, page.field],
        trigger_mode="once",
        **quiet,
    )
    page.steps.input(go(0), [*at, answers], page.outputs, trigger_mode="always_last", **quiet)
    page.back.click(go(-1), [*at, answers], page.outputs, trigger_mode="multiple", **quiet)
    page.forward.click(go(1), [*at, answers], page.outputs, trigger_mode="multiple", **quiet)
    page.choice.input(
        choose, [*at, page.choice, page.slider, answers, page.shown], page.outputs, trigger_mode="always_last", **quiet
    )
    model.change(renew, [*at, answers], page.outputs, **quiet)
    page.slider.input(
        draw, [*at, page.choice, page.slider], [page.plot, page.caption], trigger_mode="always_last", **quiet
    )
    for i, option in enumerate(page.options):
        option.click(take(i), [*at, page.choice, answers], [*page.outputs, answers], **quiet)
