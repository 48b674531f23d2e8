"""What is like a sample: the nearest by hand, never itself, and what has nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rewritten import put_part
from small_run import CLASSES, TARGETS, make_run

from audit.concepts.alike import tell_alike
from audit.concepts.neighbours import like_in_all_heat, like_looks, like_under_heat, row_of, slots_of
from audit.errors import RunError
from audit.store import Run, layout


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(make_run(tmp_path))


def test_under_the_heat_the_nearest_by_cosine_come_first(run: Run, rng: np.random.Generator) -> None:
    vectors = rng.standard_normal((5, 6)).astype(np.float16)
    for shard in run.done():
        rows = list(range(shard.start, min(shard.stop, 5)))
        columns = {"sample": rows, "slot": [0] * len(rows), "relevance": [vectors[row] for row in rows]}
        put_part(run, "features", shard.index, columns)
    unit = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    cosine = unit @ unit[1]
    expected = sorted((row for row in range(5) if row != 1), key=lambda row: -cosine[row])[:3]
    near = like_under_heat(run, 1, 0, 3)
    assert [row.sample for row in near] == expected
    # Relevance is kept in steps of the largest number's 45th.
    np.testing.assert_allclose([row.nearness for row in near], cosine[expected], atol=0.025)


def test_a_target_without_features_has_none_like_it(run: Run) -> None:
    put_part(run, "features", 0, {"sample": [0, 1], "slot": [0, 0], "relevance": [None, None]})
    assert like_under_heat(run, 0, 0, 3) == []


def test_in_all_its_heat_an_image_is_like_those_that_the_same_channels_carry(
    run: Run, rng: np.random.Generator
) -> None:
    channel, share, cell = np.full((5, 2, 8), -1), np.zeros((5, 2, 8), int), np.zeros((5, 2, 8), int)
    for row, slot in np.ndindex(5, 2):
        channel[row, slot, :3], share[row, slot, :3] = rng.permutation(6)[:3], rng.integers(1, 85, 3)
    for shard in run.done():
        rows = range(shard.start, min(shard.stop, 5))
        keys = {"sample": [row for row in rows for _ in range(2)], "slot": [0, 1] * len(rows)}
        kept = {"channel": channel, "share": share, "cell": cell}
        of_all = {name: values[list(rows)].reshape(-1, 8) for name, values in kept.items()}
        put_part(run, "channels", shard.index, keys | of_all | {f"off_{name}": of_all["cell"] for name in kept})
    dense = np.zeros((5, 6))
    for row, slot, place in np.ndindex(5, 2, 3):
        dense[row, channel[row, slot, place]] += share[row, slot, place] / 255
    cosine = dense @ dense[2] / np.linalg.norm(dense, axis=1) / np.linalg.norm(dense[2])
    expected = sorted((row for row in range(5) if row != 2), key=lambda row: -cosine[row])
    near = like_in_all_heat(run, 2, 9)
    assert [(row.sample, row.slot) for row in near] == [(row, -1) for row in expected]
    np.testing.assert_allclose([row.nearness for row in near], cosine[expected], rtol=1e-5)


def test_without_channels_no_image_is_like_another_in_its_heat(run: Run) -> None:
    put_part(run, "channels", 0, {name: [] for name in layout.CHANNELS.names})
    assert like_in_all_heat(run, 0, 3) == []


def test_images_are_as_like_as_their_hashes_have_bits_in_common(run: Run) -> None:
    near = like_looks(run, 0, 9)  # the looks are 0 to 4, and the sixth sample failed
    expected = sorted(range(1, 5), key=lambda row: (row.bit_count(), row))
    assert [row.sample for row in near] == expected
    assert [row.nearness for row in near] == [1 - row.bit_count() / 64 for row in expected]


def test_a_sample_is_named_by_its_id(run: Run) -> None:
    assert [row_of(run, name) for name, *_ in TARGETS] == list(range(5))
    assert slots_of(run, 1) == {0: CLASSES[1]}
    with pytest.raises(RunError, match=r"Expected the id of a sample of .*, as 'a'; got 'z'"):
        row_of(run, "z")
    with pytest.raises(RunError, match="has no target: it failed"):
        slots_of(run, 5)


def test_the_record_names_what_is_like_each_target_and_the_sheet(run: Run) -> None:
    record = tell_alike(run, "c", 2)
    (target,) = record["targets"]
    assert (record["id"], record["sample"], target["class"], len(target["like"])) == ("c", 2, CLASSES[0], 2)
    assert {"id", "sample", "nearness", "slot", "class"} == set(target["like"][0])
    assert len(record["images"]) == len(record["heat"]) == 2
    assert Path(record["sheet"]).exists()
