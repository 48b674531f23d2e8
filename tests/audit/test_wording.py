"""Numbers and names in sentences: other people's text is escaped and kept short, a share is said in one way."""

from __future__ import annotations

import pytest
from small_run import HOSTILE

from audit.wording import percent, plain, shorten


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
    assert shorten("a\n\tb\u202ec\x00", 20) == "a b\\u202ec\\x00"


def test_no_share_is_nothing_or_all_that_is_not() -> None:
    assert [percent(share) for share in (0.0, 1e-9, 0.0099, 0.01, 0.99, 0.9901, 1.0)] == [
        "0 %", "less than 1 %", "less than 1 %", "1 %", "99 %", "more than 99 %", "100 %",
    ]  # fmt: skip
    assert [percent(difference) for difference in (-0.004, -0.0, -0.006)] == ["0 %", "0 %", "-1 %"]
    assert percent(float("nan")) == "unknown"
