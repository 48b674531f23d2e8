"""Prose for strangers: sentences of the pages that everyone reads stay short."""

from __future__ import annotations

import re

import pytest

from tests.docs.blocks import ROOT

LONGEST = 25
"""Words of a sentence."""
PAGES = (
    "README.md",
    "docs/index.md",
    "docs/buckets.md",
    "docs/first-audit.md",
    "docs/trust.md",
    "docs/reviewing.md",
    "docs/findings.md",
    "docs/design.md",
    "docs/clusters.md",
    "docs/detectors.md",
    "docs/scale.md",
    "docs/extend/method.md",
    "docs/extend/claim.md",
    "docs/extend/reader.md",
    "docs/extend/export.md",
)
_NOT_PROSE = re.compile(r"^```.*?^```|^\|.*?$|^#.*?$|<!--.*?-->|!\[[^]]*\]\([^)]*\)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"\n\s*\n|\n\s*(?:[-*>]|\d+\.) ")
_END = re.compile(r"[.!?][)\"*_]*(?:\s+(?=[^a-z0-9\s])|$)")


@pytest.mark.parametrize("name", PAGES)
def test_no_sentence_has_more_than_25_words(name: str) -> None:
    counted = {sentence: words(sentence) for sentence in sentences((ROOT / name).read_text())}
    assert not {sentence: count for sentence, count in counted.items() if count > LONGEST}


def test_code_tables_pictures_and_addresses_are_no_words() -> None:
    page = "# Title\n\nSee `camaudit run X`,\n[this page](a.md). Done!\n\n| a | b |\n\n```\nmake demo\n```\n- One\n"
    assert [words(sentence) for sentence in sentences(page)] == [4, 1, 1]


def test_a_year_or_a_number_ends_no_sentence() -> None:
    assert sentences("A test (Adebayo et al. 2018) at 0.05 or less. Next.") == [
        "A test (Adebayo et al. 2018) at 0.05 or less",
        "Next",
    ]


def sentences(page: str) -> list[str]:
    """The sentences of a page of Markdown, code and addresses left out; an item of a list ends one."""
    prose = _NOT_PROSE.sub("\n", page)
    prose = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "CODE", prose))
    blocks = (" ".join(block.split()) for block in _BLOCK.split("\n" + prose))
    return [sentence for block in blocks for sentence in _END.split(block) if sentence.strip()]


def words(sentence: str) -> int:
    """How many words it has; signs alone are none."""
    return sum(any(map(str.isalnum, word)) for word in sentence.split())
