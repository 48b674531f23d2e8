"""What the pages say: other people's text is escaped and kept short, sentences give their numbers."""

from __future__ import annotations

import pytest
from small_run import HOSTILE

from dashboards.wording import class_sentence, finding_sentence, plain, shorten


@pytest.mark.parametrize("text", [HOSTILE, "a_b*c*", "# title", "1. list", "`code`", "&lt;b&gt;", ":smile:", "a|b"])
def test_every_sign_that_markdown_could_read_is_escaped(text: str) -> None:
    escaped = plain(text)
    bare = escaped.replace("\\\\", "")
    for place, sign in enumerate(bare):
        if sign in "`*_{}[]()<>#+-.!|~$:&":
            assert bare[place - 1] == "\\"
    assert escaped.replace("\\", "") == text


def test_long_and_broken_texts_are_shortened_to_one_printable_line() -> None:
    assert shorten("x" * 4096) == "x" * 39 + "…"
    assert shorten("a\n\tb\u202ec\x00", 10) == "a b\ufffdc\ufffd"


def test_sentences_give_the_numbers_of_their_rows() -> None:
    row = {"class": "train", "off_object": 8, "confident": 9, "share": 8 / 9, "share_low": 0.565, "share_high": 0.98}
    text = class_sentence(row | {"targets": 15, "energy": 0.351, "area": 0.228})
    assert text.startswith("train: in 8 of 9 confidently named images the map looks off the object (89 %")
    finding = {"class": "train", "kind": "avoids", "energy": 0.05, "area": 0.2, "q_low": 0.01, "chance": 0.9}
    assert "would do as badly in only 0.4 % of them" in finding_sentence(finding, {"p_low": 0.004})
    indifferent = finding | {"kind": "indifferent", "probability": 0.98}
    assert "would do as well in 90 % of them" in finding_sentence(indifferent, {})
    assert "would do as well in 100 % of them" in finding_sentence(indifferent | {"chance": 1.0}, {})
