"""Rows gathered under a schema: one at a time, in blocks, and none at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from audit.store import layout
from audit.store.tables.parts import Rows, read_table, write_table

SCHEMA = pa.schema([("sample", pa.int64()), ("class", pa.string()), ("heat", pa.list_(pa.float16(), 2))])


def test_rows_come_out_in_the_order_in_which_they_came() -> None:
    rows = Rows(SCHEMA)
    rows.add(sample=3, heat=np.zeros(2), **{"class": "cat"})
    rows.extend({"sample": np.array([1, 2]), "class": ["dog", None], "heat": np.ones((2, 2))})
    assert len(rows) == 3
    assert rows.column("sample") == [3, 1, 2]
    assert rows.columns()["class"] == ["cat", "dog", None]


def test_blocks_of_arrays_stay_arrays() -> None:
    rows = Rows(SCHEMA)
    for start in (0, 2):
        rows.extend({"sample": np.arange(start, start + 2), "class": ["a", "b"], "heat": np.full((2, 2), start)})
    sample = rows.column("sample")
    assert isinstance(sample, np.ndarray)
    assert sample.tolist() == [0, 1, 2, 3]
    assert np.shape(rows.column("heat")) == (4, 2)


@pytest.mark.parametrize("schema", layout.PARTS.values(), ids=layout.PARTS)
def test_without_rows_every_table_is_written_empty(schema: pa.Schema, tmp_path: Path) -> None:
    rows = Rows(schema)
    assert len(rows) == 0
    write_table(tmp_path / "empty.parquet", rows.columns(), schema)
    table = read_table(tmp_path / "empty.parquet")
    assert table.schema == schema
    assert table.num_rows == 0


def test_rows_and_a_block_with_the_same_values_are_written_as_the_same_bytes(tmp_path: Path) -> None:
    single, block = Rows(SCHEMA), Rows(SCHEMA)
    heat = np.arange(6, dtype=np.float16).reshape(3, 2)
    for row in range(3):
        single.add(sample=row, heat=heat[row], **{"class": None})
    block.extend({"sample": np.arange(3), "class": np.full(3, None, object), "heat": heat})
    for name, rows in (("a", single), ("b", block)):
        write_table(tmp_path / name, rows.columns(), SCHEMA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_merging_puts_the_rows_of_another_behind() -> None:
    rows, more = Rows(SCHEMA), Rows(SCHEMA)
    rows.merge(more)
    assert len(rows) == 0
    for table, sample in ((rows, 1), (more, 2)):
        table.add(sample=sample, heat=(0, 0), **{"class": ""})
    rows.merge(more)
    assert (rows.column("sample"), len(rows), len(more)) == ([1, 2], 2, 1)


def test_a_missing_an_unknown_and_a_short_column_are_refused() -> None:
    rows = Rows(SCHEMA)
    with pytest.raises(ValueError, match="Expected the columns sample, class, heat, got no class, clas"):
        rows.add(sample=1, clas="cat", heat=(0, 0))
    with pytest.raises(ValueError, match="columns of one length, got "):
        rows.extend({"sample": [1, 2], "class": ["cat"], "heat": np.zeros((1, 2))})
    assert len(rows) == 0
