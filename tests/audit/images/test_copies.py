"""Which images are copies of one another: against plain loops, and on drawn images with copies of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from audit.images import copies, difference_hash, near_copies

Hashes = NDArray[np.uint64]
SCRAMBLE = 0x9E3779B97F4A7C15
MANY = 20_000


def are_alike(a: int, b: int) -> bool:
    different = (a ^ b).bit_count()
    return different <= 8 and 4 * different <= a.bit_count() + b.bit_count()


def stars(hashes: list[int]) -> list[int]:
    """The hash that stands for the group of each, in plain loops."""
    turn = sorted(set(hashes), key=lambda bits: (-hashes.count(bits), bits * SCRAMBLE % 2**64))
    star: dict[int, int] = {}
    for bits in turn:
        star[bits] = next((other for other in star if star[other] == other and are_alike(bits, other)), bits)
    return [star[bits] for bits in hashes]


def numbered(groups: list[int]) -> list[int]:
    numbers: dict[int, int] = {}
    return [numbers.setdefault(group, len(numbers)) for group in groups]


def flipped(hashes: Hashes, times: int, rng: np.random.Generator) -> Hashes:
    for _ in range(times):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, len(hashes)).astype(np.uint64))
    return hashes


def uniform(count: int, rng: np.random.Generator) -> Hashes:
    return rng.integers(0, 2**64, count, dtype=np.uint64)


def drawn(kind: str, count: int, seed: int = 0) -> Hashes:
    """Hashes as of photographs, of their copies, of white slides, of a camera at night and of letterboxed images."""
    rng = np.random.default_rng(seed)
    originals = uniform(max(count // 6, 1), rng)
    kinds = {
        "photographs": lambda: uniform(count, rng),
        "copies": lambda: flipped(rng.choice(originals, count), 4, rng),
        "slides": lambda: flipped(np.zeros(count, np.uint64), 4, rng),
        "night": lambda: flipped(np.full(count, originals[0]), 6, rng),
        "letterboxed": lambda: uniform(count, rng) & np.uint64(0x0000FFFFFFFF0000),
        "few": lambda: uniform(count, rng) & np.uint64(0x00000000000FF000),
    }
    return kinds[kind]()


@pytest.mark.parametrize("kind", ["photographs", "copies", "slides", "night", "letterboxed", "few"])
@pytest.mark.parametrize("count", [1, 2, 300])
def test_groups_are_those_of_plain_loops(kind: str, count: int) -> None:
    hashes = drawn(kind, count)
    assert near_copies(hashes.view(np.int64)).tolist() == numbered(stars(hashes.tolist()))


def test_no_image_has_no_group() -> None:
    assert near_copies(np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("equal", range(5))
def test_pairs_are_all_that_are_alike_whatever_the_number_of_blocks(
    equal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(equal)
    near = [
        flipped(uniform(1, rng).repeat(300), 9, rng),
        *(flipped(np.zeros(40, np.uint64), k, rng) for k in range(14)),
    ]
    hashes = np.unique(np.concatenate([drawn("copies", 300), *near]))
    first, second = np.nonzero(np.triu(copies.alike(hashes[:, None], hashes), 1))
    assert len(first) > 1000
    monkeypatch.setattr(copies, "_keys", lambda _, bits: copies._choices(bits + equal, bits))
    np.testing.assert_array_equal(copies._pairs(hashes), first * len(hashes) + second)


def test_who_is_together_depends_on_no_order() -> None:
    hashes = drawn("copies", 500).view(np.int64)
    order = np.random.default_rng(1).permutation(len(hashes))
    assert numbered(near_copies(hashes)[order].tolist()) == near_copies(hashes[order]).tolist()


def test_a_chain_of_small_steps_is_not_one_image() -> None:
    chain = np.cumsum(np.uint64(1) << np.arange(64, dtype=np.uint64), dtype=np.uint64)
    group = near_copies(chain.view(np.int64))
    assert 3 <= group.max() < 12
    for number in range(group.max() + 1):
        members = chain[group == number]
        assert np.bitwise_count(members[:, None] ^ members).max() <= 2 * copies.BITS


def test_flat_images_are_one_and_specks_in_different_places_are_not() -> None:
    white = np.full((80, 90, 3), 255, np.uint8)
    images = [white, white // 2, white * 0]
    for y, x in ((5, 15), (5, 65), (65, 15), (65, 65), (35, 35)):
        speck = white.copy()
        speck[y : y + 12, x : x + 12] = 60
        images.append(speck)
    looks = np.array([difference_hash(image) for image in images])
    assert near_copies(looks).tolist() == [0, 0, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("kind", "largest"), [("photographs", 3), ("slides", 2000), ("night", MANY)])
def test_many_hashes_are_grouped_whether_all_differ_or_hardly_any(kind: str, largest: int) -> None:
    hashes = drawn(kind, MANY)
    group = near_copies(hashes.view(np.int64))
    assert np.bincount(group).max() <= largest
    star = {number: int(bits) for number, bits in zip(group[::-1].tolist(), hashes[::-1].tolist(), strict=True)}
    for row in range(0, MANY, 1000):
        assert (int(hashes[row]) ^ star[int(group[row])]).bit_count() <= 2 * copies.BITS


def photograph(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blobs of all sizes, as large as an input of a network."""
    layers = [rng.normal(size=(side, side, 3)) * 60 / side**0.8 for side in (3, 6, 12, 28)]
    pixels = sum(np.stack([_enlarged(layer[..., c]) for c in range(3)], axis=2) for layer in layers)
    return np.clip(128 + np.asarray(pixels), 0, 255).astype(np.uint8)


def _enlarged(layer: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(Image.fromarray(layer.astype(np.float32)).resize((112, 112), Image.Resampling.BICUBIC))


def recompressed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=40)
    return np.asarray(Image.open(data))


def rescaled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((70, 70)).resize((112, 112)))


def brighter(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.clip(pixels * 1.2 + 10, 0, 255).astype(np.uint8)


def cropped(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels[2:-2, 2:-2]).resize((112, 112)))


@pytest.mark.parametrize("change", [recompressed, rescaled, brighter, cropped])
def test_copies_are_recognised_and_different_images_kept_apart(change: object) -> None:
    rng = np.random.default_rng(0)
    images = [photograph(rng) for _ in range(60)]
    looks = np.array([difference_hash(image) for image in (*images, *map(change, images))])  # type: ignore[arg-type]
    group = near_copies(looks)
    assert len(np.unique(group[:60])) == 60
    assert np.mean(group[:60] == group[60:]) >= 0.9
