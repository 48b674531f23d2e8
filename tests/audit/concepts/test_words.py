"""Words for patches: the one that is planted comes first, and chance gives none a margin."""

from __future__ import annotations

import numpy as np
import pytest

from audit.concepts.words import builtin_words, nearest_words

WORDS = tuple(f"word {k}" for k in range(60))


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_a_word_that_patches_show_comes_first_with_its_score_and_a_margin(rng: np.random.Generator) -> None:
    texts = unit(rng.standard_normal((60, 32)))
    scene = rng.standard_normal(32)
    others = unit(scene + rng.standard_normal((54, 32)))
    patches = unit(scene + rng.standard_normal((9, 32)) + 4 * texts[7])
    first, *rest = nearest_words(WORDS, texts, patches, others)
    expected = np.mean([patch @ texts[7] for patch in patches]) - np.mean([part @ texts[7] for part in others])
    assert first.word == "word 7"
    assert first.score == pytest.approx(expected)
    assert first.margin > 0
    assert all(word.score < first.score for word in rest)


def test_what_the_whole_scene_shows_is_no_word_for_its_patches(rng: np.random.Generator) -> None:
    texts = unit(rng.standard_normal((60, 32)))
    scene = 4 * texts[7]
    others, patches = (unit(scene + rng.standard_normal((n, 32))) for n in (54, 9))
    assert all(word.margin <= 0 or word.word != "word 7" for word in nearest_words(WORDS, texts, patches, others))


def test_parts_drawn_at_random_have_a_margin_in_no_more_than_the_share_of_draws_allowed() -> None:
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        texts, parts = unit(rng.standard_normal((60, 16))), unit(rng.standard_normal((63, 16)))
        wrong += nearest_words(WORDS, texts, parts[:9], parts[9:], seed)[0].margin > 0
    assert wrong <= 8  # 3 expected of 60; more than 8 come in one of two hundred


def test_without_patches_there_is_nothing_to_name() -> None:
    with pytest.raises(ValueError, match="got 0 and 3"):
        nearest_words(WORDS, np.ones((60, 2)), np.ones((0, 2)), np.ones((3, 2)))


def test_the_built_in_words_are_many_and_each_is_there_once() -> None:
    words = builtin_words()
    assert len(set(words)) == len(words) > 100
    assert all(word == word.strip() != "" for word in words)
