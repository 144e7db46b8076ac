"""The Chat page: two models, one box for both; what they say, where they part, and which one a blind vote prefers."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

EXAMPLES = (  # kind, message, raw
    ("Story", "Tell me a story about a fox who lost a hat.", False),
    ("Fact", "What is the capital of France?", False),
    ("Fact", "What does a cow say?", False),
    ("Sum", "How much is three plus four?", False),
    ("Small talk", "My name is Tom.", False),
    ("To be continued", "One day the little fox went to the river and", True),
)
FIRST = "Both answer at once. Here it will say where they part, and below, token by token, by how much."
LONGEST = 512  # tokens of a reply
VOTES = ("A", "B", "The same")


@dataclass(frozen=True)
class Chat:
    """The page's components."""

    left_side: gr.Dropdown
    right_side: gr.Dropdown
    left: gr.Chatbot
    right: gr.Chatbot
    left_note: gr.Markdown
    right_note: gr.Markdown
    between: gr.Markdown
    strip: gr.HTML
    status: gr.Markdown
    box: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    clear: gr.Button
    as_json: gr.Button
    as_markdown: gr.Button
    blind: gr.Checkbox
    voting: gr.Row
    votes: tuple[gr.Button, ...]
    verdict: gr.Markdown
    raw: gr.Checkbox
    temperature: gr.Slider
    length: gr.Slider
    seed: gr.Number
    system: gr.Textbox
    held: gr.State

    @property
    def options(self) -> list:
        """How both are asked, in the order of `chat_handlers.Options`."""
        return [self.raw, self.temperature, self.length, self.system, self.seed]


def layout(choices: list[tuple[str, str]]) -> Chat:
    """The page, empty; `choices` of what either side may be."""
    with gr.Row(equal_height=True):
        made = []
        for where, key in (("left", choices[0][1]), ("right", choices[1][1])):
            with gr.Column(min_width=300):
                side = gr.Dropdown(choices, value=key, label=f"Model on the {where}", elem_id=f"chat-{where}-side")
                chat = gr.Chatbot(
                    label=next(label for label, k in choices if k == key),
                    height=380,
                    elem_id={"left": "chat-dense", "right": "chat-compressed"}[where],
                    buttons=["copy"],
                    feedback_options=None,
                )
                made += [side, chat, gr.Markdown("", elem_classes="caption", elem_id=f"chat-{where}-note")]
    left_side, left, left_note, right_side, right, right_note = made
    with gr.Row(visible=False, elem_id="voting") as voting:
        votes = tuple(gr.Button(f"{v} is better" if len(v) == 1 else v, size="sm") for v in VOTES)
    verdict = gr.Markdown("", elem_id="verdict")
    between = gr.Markdown(FIRST, elem_id="parting")
    strip = gr.HTML("", elem_id="strip-tokens")
    status = gr.Markdown("", elem_id="chat-status")
    box = gr.Textbox(
        label="Message to both", placeholder="Ask both models the same thing", lines=1, max_lines=4, elem_id="chat-box"
    )
    with gr.Row(elem_classes="actions"):
        send = gr.Button("Send", variant="primary", elem_id="chat-send")
        stop = gr.Button("Stop", elem_id="chat-stop")
        retry = gr.Button("Retry", elem_id="chat-retry")
        clear = gr.Button("Clear", elem_id="chat-clear")
    raw = gr.Checkbox(
        False,
        label="Raw text: no chat template, only the last message is continued",
        elem_id="chat-raw",
        render=False,
    )
    gr.Examples(
        [[text, raw_text] for _, text, raw_text in EXAMPLES],
        [box, raw],
        example_labels=[f"{kind}: {text}" for kind, text, _ in EXAMPLES],
        label="Examples",
        api_visibility="private",
    )
    with gr.Accordion("Sampling, system prompt, raw text, blind vote, save", open=False):
        raw.render()
        blind = gr.Checkbox(False, label="Blind: A and B, told apart only after a vote", elem_id="chat-blind")
        temperature = gr.Slider(0.0, 1.5, 0.0, step=0.05, label="Temperature (0: the likeliest token, always)")
        length = gr.Slider(8, LONGEST, 160, step=8, label="Longest reply, tokens", elem_id="chat-length")
        seed = gr.Number(0, precision=0, minimum=0, label="Seed of the sampling, the same for both")
        system = gr.Textbox("", label="System prompt")
        with gr.Row(elem_classes="actions"):
            as_json = gr.Button("Save as JSON", size="sm", elem_id="chat-json")
            as_markdown = gr.Button("Save as Markdown", size="sm", elem_id="chat-markdown")
    return Chat(
        left_side, right_side, left, right, left_note, right_note, between, strip, status, box, send, stop, retry,
        clear, as_json, as_markdown, blind, voting, votes, verdict, raw, temperature, length, seed, system,
        gr.State({}),
    )  # fmt: skip
