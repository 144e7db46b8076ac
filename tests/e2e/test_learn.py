"""Someone walks the eight lessons with the keyboard alone."""

from .test_journeys import wait_for

ACTIVE = "() => { const e = document.activeElement; return e && (e.id || e.closest('[id]')?.id || '') }"


def tab_to(page, selector: str, key: str = "Tab") -> None:
    """Press Tab, or Shift+Tab, until the focus is on it."""
    for _ in range(60):
        if page.evaluate("s => document.activeElement?.matches(s)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"Tab never reaches {selector}: it ends at {page.evaluate(ACTIVE)}")


def text(page, part: str) -> str:
    """What a part says, without the spinner that gradio keeps beside it."""
    return page.locator(f"#learn-{part} .prose").first.inner_text()


def settled(page) -> str:
    """The caption once it no longer changes: an answer moves the slider too, and its parts arrive one by one."""
    before = None
    while before != (before := text(page, "caption")):
        page.wait_for_timeout(250)
    return before


def test_all_eight_lessons_by_keyboard(page):
    assert page.locator("#field article, #plot-learn .js-plotly-plot").count() == 0, "made before it is opened"
    tab_to(page, "button[role=tab][data-tab-id=learn]")
    page.keyboard.press("Enter")
    captions = set()
    for number in range(1, 9):
        wait_for(lambda n=number: text(page, "words").startswith(f"{n} · "), 10, f"lesson {number}")
        wait_for(lambda: page.locator("#plot-learn .js-plotly-plot .plot-container").count() == 1, 10, "its picture")
        assert "Right." not in text(page, "answer") and "Not quite." not in text(page, "answer"), "it asks first"
        assert page.locator("#learn-words .katex").count() or number in (6, 8), "the formula is drawn"
        tab_to(page, "#learn-option-1", "Tab" if number == 1 else "Shift+Tab")
        wait_for(lambda: page.locator("#learn-answer[aria-live=polite]").count(), 2, "an answer that is read out")
        page.keyboard.press("Enter")
        wait_for(lambda: text(page, "answer").startswith(("Right.", "Not quite.")), 5, "the answer")
        assert "{{" not in text(page, "answer") + text(page, "words")
        told = settled(page)
        tab_to(page, "#learn-slider input[type=range]")
        page.keyboard.press("ArrowLeft")
        wait_for(lambda t=told: text(page, "caption") != t, 5, "the caption follows the slider")
        captions |= {told, settled(page)}
        if number < 8:
            tab_to(page, "#learn-next")
            page.keyboard.press("Enter")
    assert len(captions) == 16 and "31.6 %" in " ".join(captions) and "95.8 %" in " ".join(captions)
    assert page.locator("#field article").count() >= 16


def test_an_answered_lesson_stays_answered_and_the_search_is_replayed(page):
    page.get_by_role("tab", name="Learn").click()
    page.locator("#learn-steps").get_by_text("Which layer pays?").click()
    wait_for(lambda: text(page, "words").startswith("6 · "), 10, "lesson 6")
    page.locator("#learn-option-1").click()
    wait_for(lambda: text(page, "answer").startswith("Right."), 5, "the answer")
    page.locator("#learn-choice input").click()
    page.get_by_role("option", name="The search on all layers").click()
    wait_for(lambda: text(page, "caption").startswith("Step 1:"), 5, "the search from its first step")
    box = page.locator("#learn-slider input[type=number]")
    box.fill("99")
    box.press("Enter")
    wait_for(lambda: text(page, "caption").startswith("Found: "), 5, "a number beyond the end is its end")
    page.locator("#learn-back").click()
    wait_for(lambda: text(page, "words").startswith("5 · "), 10, "lesson 5")
    page.locator("#learn-next").click()
    wait_for(lambda: text(page, "answer").startswith("Right."), 10, "lesson 6 is still answered")


def test_the_page_has_its_own_icon(page):
    reply = page.request.get(f"{page.url.rstrip('/')}/favicon.ico")
    assert reply.ok and reply.headers["content-type"].startswith("image/svg") and "a spectrum, cut" in reply.text()


def test_a_phone_shows_every_lesson(browser, studio):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", reduced_motion="reduce")
    page = context.new_page()
    page.goto(studio)
    page.get_by_role("tab", name="Learn").click()
    for number in range(1, 9):
        wait_for(lambda n=number: text(page, "words").startswith(f"{n} · "), 10, f"lesson {number}")
        page.wait_for_selector("#plot-learn .js-plotly-plot .plot-container")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 1, f"lesson {number} is {wide} px wider than a phone"
        if number < 8:
            page.locator("#learn-next").click()
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration.split(', ')"
        ".some(t => parseFloat(t) > 0) && getComputedStyle(e).transitionProperty !== 'none').length"
    )
    context.close()
    assert moving == 0, f"{moving} elements move although less motion is asked for"
