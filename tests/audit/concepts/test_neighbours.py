"""What is like a sample: the nearest by hand, never itself, and what has nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rewritten import put_part
from small_run import CLASSES, TARGETS, make_run

from audit.concepts.alike import tell_alike
from audit.concepts.neighbours import like_looks, like_under_heat, row_of, slots_of
from audit.errors import RunError
from audit.store import Run


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
    np.testing.assert_allclose(
        [row.nearness for row in near], cosine[expected], atol=8e-3
    )  # relevance is kept at 8 bits


def test_a_target_without_features_has_none_like_it(run: Run) -> None:
    put_part(run, "features", 0, {"sample": [0, 1], "slot": [0, 0], "relevance": [None, None]})
    assert like_under_heat(run, 0, 0, 3) == []


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
    assert len(record["images"]) == 2
    assert Path(record["sheet"]).exists()
