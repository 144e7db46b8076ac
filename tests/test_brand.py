"""The icon and the social picture: drawn by us, of the right size, and the figures on them are the lesson's."""

import struct
from xml.etree import ElementTree

import pytest

from lowrank_core.lessons.scale import LESSON
from lowrank_core.settings import ASSETS


@pytest.mark.parametrize("name", ["favicon.svg", "social.svg"])
def test_drawings_are_whole_and_ask_for_nothing_elsewhere(name):
    text = (ASSETS / name).read_text("utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert text.count("http") == 1 and "<image" not in text and "<script" not in text  # the one is the namespace


def test_the_social_picture_has_its_size_and_the_computed_figures():
    head = (ASSETS / "social.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", head[16:24]) == (1200, 630)
    figures = LESSON.figures(None, None)
    text = (ASSETS / "social.svg").read_text("utf-8")
    assert f"{figures['plain_output']} lost" in text and f"{figures['output']} lost" in text
