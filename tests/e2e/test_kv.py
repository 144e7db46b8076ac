"""Half the KV cache, live: the slider at 0.5, and a chat of 400 tokens that shows it while it streams."""

import re

from .test_journeys import open_squeeze, status, wait_for

TOKENS = 400  # the bundled model reads 512
WATCH = """() => {
  window.seen = [];
  const notes = ['left', 'right'].map(name => document.querySelector(`#chat-${name}-note`));
  for (const note of notes)
    new MutationObserver(() => window.seen.push(notes.map(n => n.textContent)))
      .observe(note, {subtree: true, childList: true, characterData: true});
}"""
NOTE = re.compile(r"(\d+) tokens on cpu · KV cache ([\d.]+) ([kM]?)B(?: of ([\d.]+) ([kM]?)B dense)?")
UNITS = {"": 1, "k": 1e3, "M": 1e6}


def typed(page, name: str, value: str) -> None:
    box = page.locator(f"{name} input[type=number]")
    box.fill(value)
    box.press("Enter")


def read(note: str) -> tuple[int, float, float] | None:
    """Tokens, bytes stored, and bytes a dense cache would store."""
    if (found := NOTE.search(note)) is None:
        return None
    stored = float(found[2]) * UNITS[found[3]]
    return int(found[1]), stored, float(found[4]) * UNITS[found[5]] if found[4] else stored


def test_a_chat_of_400_tokens_holds_half_the_bytes(page, studio):
    page.goto(f"{studio}/?windows=8&window=64&method=svd&ratio=0&kv_ratio=0.4")  # a little text: this is about bytes
    open_squeeze(page)
    typed(page, "#kv-ratio", "0.5")
    wait_for(lambda: "50 % not stored" in page.locator("#kv-readout").inner_text(), 90, "the readout's bytes")
    for wrong in ("1", "1.2", "-0.1"):
        typed(page, "#kv-ratio", wrong)
        wait_for(lambda said=f"The KV ratio is {wrong}": said in status(page), 10, "a KV ratio out of bounds is said")
    typed(page, "#kv-ratio", "0.5")
    wait_for(lambda: "The KV ratio is" not in status(page), 10, "a good one clears it")
    page.locator("#stop").click()
    page.get_by_role("tab", name="Chat").click()
    page.get_by_text("Sampling, system prompt").click()
    typed(page, "#chat-length", str(TOKENS))
    page.locator("#chat-raw input").check()
    page.locator("#chat-box textarea").fill("One day the")
    page.evaluate(WATCH)
    page.locator("#chat-send").click()
    page.wait_for_selector("#strip-tokens .strip", timeout=180_000)
    states = [tuple(map(read, pair)) for pair in page.evaluate("window.seen")]
    live = {b[0]: (a, b) for a, b in states if a and b and a[0] == b[0]}
    # the forms that are fastest on a busy machine round otherwise: one of the two may end its reply by itself
    assert len(live) >= 10 and max(a[0] for pair in states for a in pair if a) == TOKENS, sorted(live)
    for dense, half in live.values():
        assert half[2] == dense[1] == dense[2], "the dense side's bytes are what the other is told against"
        assert 0.45 < half[1] / half[2] <= 0.505, (dense, half)
    assert "to rebuild the keys and values" in page.locator("#chat-right-note").inner_text()
    assert page.locator("#chat-compressed").inner_text().strip()
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_text("KV keep 50 %").wait_for()
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    wait_for(lambda: page.evaluate(over) <= 1, 5, "the page, laid out again, is as narrow as a phone")
