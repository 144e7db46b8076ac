"""The Chat page: dense on the left, compressed on the right, one box for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from ..errors import LowRankError
from ..study.recipe import Recipe
from . import chat_handlers as handlers
from .choices import recipe_values
from .house import House
from .relay import explain, guarded
from .squeeze import Squeeze

EXAMPLES = (
    "Tell me a story about a fox who lost a hat.",
    "What is the capital of France?",
    "What does a cow say?",
    "How much is three plus four?",
    "My name is Tom.",
)


@dataclass(frozen=True)
class Chat:
    """The page's components."""

    left: gr.Chatbot
    right: gr.Chatbot
    left_note: gr.Markdown
    right_note: gr.Markdown
    between: gr.Markdown
    box: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    clear: gr.Button
    status: gr.Markdown
    raw: gr.Checkbox
    temperature: gr.Slider
    length: gr.Slider
    system: gr.Textbox


def layout() -> Chat:
    """The page, empty."""
    with gr.Row(equal_height=True):
        with gr.Column(min_width=300):
            left = gr.Chatbot(label="Dense", height=380, elem_id="chat-dense", buttons=["copy"], feedback_options=None)
            left_note = gr.Markdown("", elem_classes="caption")
        with gr.Column(min_width=300):
            right = gr.Chatbot(
                label="Compressed, by Squeeze's plan",
                height=380,
                elem_id="chat-compressed",
                buttons=["copy"],
                feedback_options=None,
            )
            right_note = gr.Markdown("", elem_classes="caption")
    between = gr.Markdown("", elem_id="parting")
    status = gr.Markdown("", elem_id="chat-status")
    box = gr.Textbox(
        label="Message to both", placeholder="Ask both models the same thing", lines=1, max_lines=4, elem_id="chat-box"
    )
    with gr.Row():
        send = gr.Button("Send", variant="primary", elem_id="chat-send")
        stop = gr.Button("Stop", elem_id="chat-stop")
        retry = gr.Button("Retry", elem_id="chat-retry")
        clear = gr.Button("Clear", elem_id="chat-clear")
    gr.Examples([[e] for e in EXAMPLES], [box], label="Examples", api_visibility="private")
    with gr.Accordion("Sampling, system prompt, raw text", open=False):
        raw = gr.Checkbox(False, label="Raw text: no chat template, only the last message is continued")
        temperature = gr.Slider(0.0, 1.5, 0.0, step=0.05, label="Temperature (0: the likeliest token, always)")
        length = gr.Slider(8, 400, 160, step=8, label="Longest reply, tokens")
        system = gr.Textbox("", label="System prompt")
    return Chat(
        left,
        right,
        left_note,
        right_note,
        between,
        box,
        send,
        stop,
        retry,
        clear,
        status,
        raw,
        temperature,
        length,
        system,
    )


def connect(page: Chat, squeeze: Squeeze, house: House, model: gr.State, make_recipe: Callable[[dict], Recipe]) -> None:
    """One message to both models, as streams; Stop, Retry and Clear."""
    shown = [page.left, page.right, page.left_note, page.right_note, page.between, page.status]

    def answer(request: gr.Request, name, *rest):
        *choices, left, right, prompt, raw, temperature, length, system = rest
        try:
            recipe = make_recipe(recipe_values(name, *choices))
        except LowRankError as error:
            yield [gr.skip()] * 5 + [explain(error), prompt]
            return
        session = request.session_hash
        replies = handlers.reply(house, recipe, session, left, right, prompt, raw, temperature, length, system)
        for turned, status in guarded(replies, lambda line: (None, line)):
            if turned is None:
                yield [gr.skip()] * 5 + [status, gr.skip()]
            else:
                yield [turned.left, turned.right, *turned.notes, turned.between, status, ""]

    def stop(request: gr.Request):
        house.next_turn(handlers.chat_lane(request.session_hash))

    def take_back(left, right):
        left, right = handlers.plain(left), handlers.plain(right)
        asked = [m["content"] for m in left if m["role"] == "user"]
        if not asked:
            return [gr.skip()] * 3
        cut = [m[: max(i for i, x in enumerate(m) if x["role"] == "user")] for m in (left, right)]
        return [*cut, asked[-1]]

    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [
        model,
        *squeeze.choices,
        page.left,
        page.right,
        page.box,
        page.raw,
        page.temperature,
        page.length,
        page.system,
    ]
    gr.on(
        [page.send.click, page.box.submit],
        answer,
        inputs,
        [*shown, page.box],
        concurrency_limit=8,
        trigger_mode="once",
        **quiet,
    )
    page.retry.click(take_back, [page.left, page.right], [page.left, page.right, page.box], **quiet).then(
        answer, inputs, [*shown, page.box], concurrency_limit=8, **quiet
    )
    page.stop.click(stop, None, None, queue=False, **quiet)

    def clear(request: gr.Request):
        stop(request)
        return [[], [], "", "", "", ""]

    page.clear.click(clear, None, shown, **quiet)
