"""Colours can be told from what they stand on."""

from __future__ import annotations

import pytest

from audit.drawing.palette import DARK, GROUNDS, LIGHT, TEXT, contrast


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("text", TEXT)
def test_text_has_the_contrast_that_wcag_asks_of_it(colours: dict[str, str], text: str) -> None:
    worst = min(contrast(colours[text], colours[ground]) for ground in GROUNDS)
    assert worst >= 4.5


def test_light_and_dark_have_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()


@pytest.mark.parametrize(("one", "other", "expected"), [("#777777", "#ffffff", 4.48), ("#ff0000", "#ffffff", 4.0)])
def test_contrast_is_that_of_published_tables(one: str, other: str, expected: float) -> None:
    assert contrast(one, other) == contrast(other, one) == pytest.approx(expected, abs=0.01)
