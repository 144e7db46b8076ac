"""Ways to ask for a fact: `questions(fact)` gives "What does a cow say?", "Tell me what a cow says." ...

Each kind has a few cores (direct questions, indirect questions, the start of
the reply). General frames such as "Can you tell me {core}?" turn the cores into
templates. The held-out templates use the same words in frames, and in one core
per kind, that the training templates never use.
"""

from __future__ import annotations

from dataclasses import dataclass

from .facts import NUMBERS, Fact, capitalised, with_article


@dataclass(frozen=True)
class Cores:
    """The cores of one kind: direct and indirect questions, the reply's start, one held-out question."""

    direct: tuple[str, ...]
    indirect: tuple[str, ...]
    start: str
    held_out: str


def _next_to(noun: str, side: str, question: str = "which") -> Cores:
    """The cores for "which day comes after Monday" and its like."""
    other = "what" if question == "which" else "which"
    return Cores(
        direct=(
            f"{question} {noun} comes {side} {{subject}}",
            f"{other} {noun} comes right {side} {{subject}}",
            f"what is the {noun} {side} {{subject}}",
            f"which {noun} is right {side} {{subject}}",
        ),
        indirect=(f"which {noun} comes {side} {{subject}}", f"the {noun} {side} {{subject}}"),
        start=f"the {noun} {side} {{subject}} is",
        held_out=f"{question} {noun} comes right {side} {{subject}}",
    )


CORES: dict[str, Cores] = {
    "sound": Cores(
        ("what does {a_subject} say", "what sound does {a_subject} make", "how does {a_subject} sound",
         "what is the sound of {a_subject}"),
        ("what {a_subject} says", "what sound {a_subject} makes", "the sound of {a_subject}"),
        "{a_subject} says",
        "what is the sound {a_subject} makes",
    ),
    "home": Cores(
        ("where does {a_subject} live", "what does {a_subject} live in", "where is the home of {a_subject}",
         "what is the home of {a_subject} called"),
        ("where {a_subject} lives", "what the home of {a_subject} is called", "the home of {a_subject}"),
        "{a_subject} lives in",
        "what is the home of {a_subject}",
    ),
    "baby": Cores(
        ("what is a baby {subject} called", "what do you call a baby {subject}",
         "what is the baby of {a_subject} called", "what is the name for a baby {subject}"),
        ("what a baby {subject} is called", "the name for a baby {subject}", "what you call a baby {subject}"),
        "a baby {subject} is called",
        "what do you call the baby of {a_subject}",
    ),
    "legs": Cores(
        ("how many legs does {a_subject} have", "how many legs are there on {a_subject}",
         "what is the number of legs of {a_subject}", "{a_subject} has how many legs"),
        ("how many legs {a_subject} has", "the number of legs of {a_subject}"),
        "the number of legs of {a_subject} is",
        "what is the number of legs {a_subject} has",
    ),
    "colour": Cores(
        ("what color is {subject}", "what colour is {subject}", "what is the color of {subject}",
         "which color does {subject} have", "which colour is {subject}"),
        ("what color {subject} is", "the color of {subject}", "which colour {subject} has"),
        "the color of {subject} is",
        "what is the colour of {subject}",
    ),
    "opposite": Cores(
        ("what is the opposite of {subject}", "what is the opposite of the word {subject}",
         "which word is the opposite of {subject}", "what word means the opposite of {subject}"),
        ("the opposite of {subject}", "what the opposite of {subject} is",
         "a word that means the opposite of {subject}"),
        "the opposite of {subject} is",
        "which word means the opposite of {subject}",
    ),
    "sum": Cores(
        ("what is {subject}", "how much is {subject}", "what do you get for {subject}", "what is {digits}",
         "how much is {digits}", "what does {subject} make"),
        ("how much {subject} is", "what {subject} is", "what you get for {subject}"),
        "{subject} is",
        "how much do you get for {subject}",
    ),
    "capital": Cores(
        ("what is the capital of {subject}", "which city is the capital of {subject}",
         "what is the capital city of {subject}", "what is the name of the capital of {subject}"),
        ("the capital of {subject}", "what the capital of {subject} is",
         "which city is the capital of {subject}"),
        "the capital of {subject} is",
        "which city is the capital city of {subject}",
    ),
    "number_after": _next_to("number", "after", "what"),
    "number_before": _next_to("number", "before", "what"),
    "letter_after": _next_to("letter", "after"),
    "day_after": _next_to("day", "after"),
    "day_before": _next_to("day", "before"),
    "month_after": _next_to("month", "after"),
    "month_before": _next_to("month", "before"),
    "maker": Cores(
        ("what does {a_subject} make", "what things does {a_subject} make",
         "what is made by {a_subject}", "what does {a_subject} make at work"),
        ("what {a_subject} makes", "what is made by {a_subject}", "what things {a_subject} makes at work"),
        "{a_subject} makes",
        "what things does {a_subject} make at work",
    ),
    "workplace": Cores(
        ("where does {a_subject} work", "in what place does {a_subject} work",
         "what is the place of work of {a_subject}", "where do you find {a_subject} at work"),
        ("where {a_subject} works", "the place of work of {a_subject}", "in what place {a_subject} works"),
        "{a_subject} works",
        "what is the place where {a_subject} works",
    ),
    "origin": Cores(
        ("where does {subject} come from", "what does {subject} come from", "where do we get {subject} from",
         "from what do we get {subject}"),
        ("where {subject} comes from", "what {subject} comes from", "where we get {subject} from"),
        "{subject} comes from",
        "what do we get {subject} from",
    ),
    "plural": Cores(
        ("what is the plural of {subject}", "what is the plural of the word {subject}",
         "one {subject}, but two what", "what is the plural form of {subject}"),
        ("the plural of {subject}", "what the plural of {subject} is",
         "the plural form of the word {subject}"),
        "the plural of {subject} is",
        "what is the plural form of the word {subject}",
    ),
    "material": Cores(
        ("what is {subject} made of", "what is used to make {subject}",
         "what do people use to make {subject}", "of what is {subject} made"),
        ("what {subject} is made of", "what people use to make {subject}", "what is used to make {subject}"),
        "{subject} is made of",
        "what do people make {subject} of",
    ),
    "tool": Cores(
        ("what do you use to {subject}", "what do you need to {subject}",
         "what thing can you use to {subject}", "what can help you to {subject}"),
        ("what you use to {subject}", "what you need to {subject}", "what thing helps you to {subject}"),
        "to {subject} you use",
        "what thing do you need to {subject}",
    ),
    "past": Cores(
        ("what is the past tense of {subject}", "what is the past of {subject}",
         "what is the past tense of the verb {subject}", "what is the past form of {subject}"),
        ("the past tense of {subject}", "what the past tense of {subject} is",
         "the past form of the verb {subject}"),
        "the past tense of {subject} is",
        "what is the past form of the verb {subject}",
    ),
    "sort": Cores(
        ("what kind of thing is {a_subject}", "what sort of thing is {a_subject}",
         "what kind of thing do you call {a_subject}", "{a_subject} is what kind of thing"),
        ("what kind of thing {a_subject} is", "what sort of thing {a_subject} is"),
        "{a_subject} is a kind of",
        "{a_subject} is what sort of thing",
    ),
}

# In the frames {d} is a direct question, {i} an indirect one, {s} the reply's start.
DIRECT_FRAMES = ("{D}?", "{d}", "{d}?")
FIRST_FRAMES = (
    "Please answer this question: {d}?",
    "Quiz: {d}?",
    "Quiz time! {D}?",
    "A question for you: {d}?",
    "I have a question. {D}?",
    "Tell me, {d}?",
    "Do you know the answer? {D}?",
)
INDIRECT_FRAMES = ("Can you tell me {i}?", "Tell me {i}.", "Please tell me {i}.")
FIRST_INDIRECT_FRAMES = (
    "Do you know {i}?",
    "I want to know {i}.",
    "Could you tell me {i}, please?",
    "I would like to know {i}.",
    "tell me {i} please",
    "do you know {i}",
)
START_FRAMES = ("{S} ...", "Please finish this: {s} ...", "Finish the sentence: {s} ...")
HELD_OUT_FRAMES = ("Could you please tell me {i}?", "Do you know the answer to this question: {d}?")


def _fill(frame: str, core: str) -> str:
    """The template of `core` in `frame`; a capital slot marks a core that begins a sentence.

    A core that begins with a slot gets its capital letter later, in `_ask`.
    """
    slot = frame[frame.index("{") + 1]
    begins = slot.isupper()
    core = capitalised(core) if begins and not core.startswith("{") else core
    if begins and core.startswith("{"):
        core = "^" + core
    return frame.replace("{" + slot + "}", core)


def _templates(cores: Cores) -> tuple[str, ...]:
    """All training templates of one kind."""
    found = [_fill(frame, core) for core in cores.direct for frame in DIRECT_FRAMES]
    found += [_fill(frame, cores.direct[0]) for frame in FIRST_FRAMES]
    found += [_fill("Quiz: {d}?", core) for core in cores.direct[1:]]
    found += [_fill(frame, core) for core in cores.indirect for frame in INDIRECT_FRAMES]
    found += [_fill(frame, cores.indirect[0]) for frame in FIRST_INDIRECT_FRAMES]
    found += [_fill(frame, cores.start) for frame in START_FRAMES]
    return tuple(dict.fromkeys(found))


def _held_out(cores: Cores) -> tuple[str, ...]:
    """The three held-out templates of one kind."""
    asked, answer = HELD_OUT_FRAMES
    return (
        _fill(asked, cores.indirect[0]),
        _fill(answer, cores.direct[0]),
        _fill("{D}?", cores.held_out),
    )


PHRASINGS: dict[str, tuple[str, ...]] = {kind: _templates(cores) for kind, cores in CORES.items()}
HELD_OUT: dict[str, tuple[str, ...]] = {kind: _held_out(cores) for kind, cores in CORES.items()}


def _digits(subject: str) -> str:
    """A sum in digits ("2 + 3"), for any other subject the subject itself."""
    words = [("+" if word == "plus" else word) for word in subject.split()]
    return " ".join(str(NUMBERS.index(word)) if word in NUMBERS else word for word in words)


def _ask(template: str, fact: Fact) -> str:
    """The question that `template` makes of `fact`."""
    text = template.format(
        subject=fact.subject, a_subject=with_article(fact.subject), digits=_digits(fact.subject)
    )
    before, mark, after = text.partition("^")
    return before + capitalised(after) if mark else text


def questions(fact: Fact) -> list[str]:
    """Every training question for `fact`."""
    return [_ask(template, fact) for template in PHRASINGS[fact.kind]]


def held_out_questions(fact: Fact) -> list[str]:
    """The three questions for `fact` that training never sees."""
    return [_ask(template, fact) for template in HELD_OUT[fact.kind]]
