"""Columns as parts keep them: what comes back, how far it is off, and how little it takes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_run import make_run

from audit.store import Run, layout
from audit.store.tables.encodings import part_options
from audit.store.tables.packing import PACKINGS, older_names, pack, packed_names, unpack
from audit.store.tables.parts import arrow_table

COUNTS, SHARES, VECTORS = (PACKINGS[kind] for kind in (layout.COUNTS, layout.FRAME, layout.UNIT_VECTOR))


_LEADING = [name for name in layout.CHANNELS.names if name not in ("sample", "slot")]


def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), type=kind)


def there_and_back(column: pa.Array) -> np.ndarray:
    packing = PACKINGS[column.type]
    return np.asarray(packing.unpack(packing.pack(column)).flatten())


def test_counts_come_back_as_they_were_and_are_kept_as_folded_differences() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2**31 - 1, (20, layout.LEVELS))
    counts[0], counts[1, ::2] = 0, 0
    column = lists(counts, layout.COUNTS)
    np.testing.assert_array_equal(there_and_back(column).reshape(-1, layout.LEVELS), counts)
    kept = COUNTS.pack(column)[0].to_pylist()
    for row, folded in zip(counts.tolist(), kept, strict=True):
        before = 0
        for count, number in zip(row, folded, strict=True):
            assert count - before == (number // 2 if number % 2 == 0 else -(number + 1) // 2)
            before = count


def test_shares_are_off_by_a_step_and_their_running_sums_by_half_a_step() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(64, 0.2), 200).astype(np.float16)
    back = there_and_back(lists(shares, layout.FRAME)).reshape(-1, 64).astype(float)
    for row, kept in zip(shares.astype(float), back, strict=True):
        step, total, kept_total = max(row) / 100, 0.0, 0.0
        for share, other in zip(row, kept, strict=True):
            total, kept_total = total + share, kept_total + other
            assert abs(share - other) <= step * 1.01 + share * 2**-10
            assert abs(total - kept_total) <= step * 0.51 + total * 2**-10


def test_small_shares_are_not_lost_from_sums() -> None:
    """Rounded one by one, each of these would be nothing."""
    shares = np.full((1, 64), 0.45 / 100, np.float16)
    shares[0, 10] = 1
    back = there_and_back(lists(shares, layout.FRAME)).astype(float)
    assert back.sum() == pytest.approx(shares.astype(float).sum(), abs=0.5 / 100)


def test_whole_cells_empty_ones_and_no_shares_at_all_come_back_exactly() -> None:
    area = np.where(np.arange(64) % 3, 1 / 64, 0).astype(np.float16)
    shares = np.stack([area, np.zeros(64, np.float16), np.full(64, np.nan, np.float16), np.eye(1, 64)[0]])
    back = there_and_back(lists(shares.astype(np.float16), layout.FRAME)).reshape(-1, 64)
    np.testing.assert_array_equal(back, shares)


@pytest.mark.parametrize(("width", "most"), [(5, 1.2), (64, 1.6), (128, 1.8)])
def test_vectors_keep_their_direction_within_two_degrees_and_their_length(width: int, most: float) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    column = pa.array(list(vectors.astype(np.float16)), layout.UNIT_VECTOR)
    back = there_and_back(column).reshape(-1, width).astype(float)
    angles = [
        math.degrees(math.acos(min(1.0, math.fsum(a * b for a, b in zip(one, other, strict=True)))))
        for one, other in zip(vectors, back / np.linalg.norm(back, axis=1, keepdims=True), strict=True)
    ]
    assert max(angles) < most
    assert np.linalg.norm(back, axis=1) == pytest.approx(1, abs=2e-3)


def test_vectors_that_are_not_there_stay_null_and_a_part_may_have_none() -> None:
    half = math.sqrt(0.5)
    for rows in ([None, [half, -half], None, [1.0, 0.0]], [None, None], []):
        column = pa.array(rows, layout.UNIT_VECTOR)
        back = VECTORS.unpack(VECTORS.pack(column)).to_pylist()
        assert back == [None if row is None else pytest.approx(row, abs=1e-3) for row in rows]


@pytest.mark.parametrize("schema", (layout.PARTS | layout.LABEL_PARTS).values(), ids=layout.PARTS | layout.LABEL_PARTS)
def test_an_empty_table_comes_back_with_its_schema(schema: pa.Schema) -> None:
    assert unpack(pack(schema.empty_table()), schema).schema == schema


def test_some_columns_are_read_from_those_that_keep_them() -> None:
    assert packed_names(layout.SCORES, ["slot", "off_heat"]) == ["slot", "off_heat", "off_heat_step"]
    values = {"sample": [3], "slot": [1], "relevance": [[0.6, 0.8]]}
    table = arrow_table(values, layout.FEATURES)
    assert unpack(pack(table), layout.FEATURES, ["relevance", "sample"]).column_names == ["relevance", "sample"]


def test_a_sliced_column_comes_back_as_the_slice() -> None:
    shares = np.random.default_rng(0).random((6, 64)).astype(np.float16)
    kept = [array.slice(2, 3) for array in SHARES.pack(lists(shares, layout.FRAME))]
    sliced = np.asarray(SHARES.unpack(kept).flatten()).reshape(-1, 64)
    np.testing.assert_allclose(sliced, shares[2:5], atol=1 / 100)


def test_pooled_counts_come_back_as_they_were_and_those_of_older_parts_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    counts = [0, 2**62, 5, *rng.integers(0, 10**6, 50).tolist()]
    table = pa.table(
        {"predicted": [1] * 53, "true": [2] * 53, "map_level": range(53), "count": counts}, layout.CONFUSION
    )
    packed = pack(table)
    assert packed.column_names[-1] == "count_steps"
    before = 0
    for count, kept in zip(counts, packed["count_steps"].to_pylist(), strict=True):
        assert count - before == (kept // 2 if kept % 2 == 0 else -(kept + 1) // 2)
        before = count
    for part in (packed, table):
        pq.write_table(part, tmp_path / "part", **part_options(part.schema))
        names = [*packed_names(layout.CONFUSION), *older_names(layout.CONFUSION)]
        with pq.ParquetFile(tmp_path / "part") as file:
            assert unpack(file.read(columns=names), layout.CONFUSION).equals(table)


def test_parts_of_more_steps_are_read_as_before() -> None:
    rng = np.random.default_rng(0)
    shares, vector = rng.dirichlet(np.full(64, 0.2)), rng.normal(size=128)
    steps = np.rint(254 * shares / shares.max()).astype(np.uint8)
    kept = [pa.array([steps.tobytes()], pa.binary(64)), pa.array([shares.max() / 254], pa.float32())]
    np.testing.assert_allclose(np.asarray(SHARES.unpack(kept).flatten()), shares, atol=shares.max() / 254)
    finer = np.rint(127 * vector / np.abs(vector).max()).astype(np.int8)
    (back,) = VECTORS.unpack([pa.array([finer.tobytes()], pa.binary())]).to_pylist()
    np.testing.assert_allclose(back, vector / np.linalg.norm(vector), atol=2e-3)


def test_lists_come_back_from_a_file_whether_or_not_it_says_that_they_have_one_length(tmp_path: Path) -> None:
    leading = {name: [[row + place for place in range(layout.LEADING)] for row in range(3)] for name in _LEADING}
    table = arrow_table({"sample": [0, 1, 2], "slot": [0, 0, 1]} | leading, layout.CHANNELS)
    packed = pack(table)
    for told in (False, True):
        pq.write_table(packed, tmp_path / "part", **part_options(packed.schema) | {"store_schema": told})
        assert unpack(pq.read_table(tmp_path / "part"), layout.CHANNELS).equals(table)


def test_a_run_reads_what_it_was_given_and_keeps_it_in_less_room(tmp_path: Path) -> None:
    run = Run.open(make_run(tmp_path))
    shard = run.shards[0]
    read, path = run.read("scores", shard), run.part("scores", shard)
    assert path is not None
    assert read.schema == layout.SCORES
    kept = pq.read_table(path)
    assert kept.column_names == packed_names(layout.SCORES)
    assert kept.nbytes < read.nbytes
    footer = pq.read_metadata(path)
    assert all(footer.row_group(0).column(place).statistics is None for place in range(footer.num_columns))
