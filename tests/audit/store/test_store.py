"""The store: whole files or none, a ledger that alone says what is done, maps that come back as they were written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rewritten import part_of

import audit.store.ledger as ledger_module
from audit.datasets.manifest import Manifest, Sample
from audit.errors import RunError
from audit.store import Run, Shard, layout
from audit.store.maps.arrays import create_maps, read_maps, write_maps
from audit.store.maps.files import maps_size
from audit.store.maps.quantised import Quantised
from audit.store.storage.files import ABSENT, Version, read_json, sha256, sweep_partials, write_atomically, write_json
from audit.store.tables.parts import read_table, write_table

GRID = (3, 2)


def manifest_of(count: int) -> Manifest:
    return Manifest.from_samples([Sample(f"s{index}", f"{index}.png", (0,)) for index in range(count)], ("a", "b"))


def record(shard_size: int = 4, **config: Any) -> dict[str, Any]:
    maps = {"grid": list(GRID), "slots": 2, "encoding": "float16"}
    return {"config": config, "model": {"layer": "x"}, **maps, "shard_size": shard_size}


def new_run(folder: Path, count: int = 10, shard_size: int = 4) -> Run:
    return Run.create(folder / "run", manifest_of(count), record(shard_size))


def maps_of(run: Run, shard: Shard) -> np.ndarray:
    generator = np.random.default_rng(shard.index)
    return generator.random((len(shard), 2, *GRID)).astype(np.float16)


def sample_rows(shard: Shard, failed: int = 0) -> dict[str, Mapping[str, Any]]:
    """A table `samples` for a shard whose first `failed` samples failed."""
    count = len(shard)
    columns: dict[str, list[Any]] = {field.name: [None] * count for field in layout.SAMPLES}
    columns["sample"] = list(range(shard.start, shard.stop))
    columns["id"] = [f"s{row}" for row in columns["sample"]]
    columns["status"] = ["failed"] * failed + ["processed"] * (count - failed)
    columns["reason"] = [f"reason {row}" if place < failed else None for place, row in enumerate(columns["sample"])]
    columns["transient"] = [False] * count
    return {"samples": columns}


def commit(run: Run, shard: Shard, failed: int = 0, transient: int = 0) -> None:
    counts = {"processed": len(shard) - failed, "failed": failed, "transient": transient}
    run.commit(shard, maps_of(run, shard), sample_rows(shard, failed), counts)


def test_a_write_that_fails_leaves_the_old_file_and_no_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        write_atomically(path, fail)
    assert read_json(path, "") == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_json_with_nan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


def test_sweeping_deletes_partial_files_alone_and_counts_them(tmp_path: Path) -> None:
    for name in ("a.partial", "b.json.12.partial", "kept.partial.txt", "kept.json"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.partial").mkdir()
    assert sweep_partials(tmp_path) == 2
    assert sorted(os.listdir(tmp_path)) == ["folder.partial", "kept.json", "kept.partial.txt"]


def test_the_digest_of_a_missing_file_says_absent(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "y") == ABSENT


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 40), size=st.integers(1, 17), slots=st.integers(1, 3))
def test_maps_come_back_as_written_shard_by_shard(
    count: int, size: int, slots: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("maps") / "maps.zarr"
    create_maps(path, count, slots, GRID, size)
    maps = np.random.default_rng(0).random((count, slots, *GRID)).astype(np.float16)
    maps[::3] = np.nan
    files: dict[Path, str] = {}
    for start in reversed(range(0, count, size)):
        files |= write_maps(path, start, maps[start : start + size])
    np.testing.assert_array_equal(read_maps(path, 0, count, files), maps)
    assert maps_size(path) > 0


def test_equal_maps_have_equal_files_and_others_do_not_touch_them(tmp_path: Path) -> None:
    path = tmp_path / "maps.zarr"
    create_maps(path, 256, 2, GRID, 128)
    maps = np.random.default_rng(0).random((256, 2, *GRID)).astype(np.float16)
    first = write_maps(path, 0, maps[:128])
    other = write_maps(path, 0, 1 - maps[:128])
    assert not first.keys() & other.keys()
    assert write_maps(path, 0, maps[:128]) == first
    assert {file: sha256(file) for file in (*first, *other)} == first | other
    np.testing.assert_array_equal(read_maps(path, 0, 128, first), maps[:128])
    np.testing.assert_array_equal(read_maps(path, 0, 128, other), 1 - maps[:128])


def test_a_shard_without_maps_has_no_file(tmp_path: Path) -> None:
    path = tmp_path / "maps.zarr"
    create_maps(path, 8, 2, GRID, 4)
    assert len(write_maps(path, 4, np.ones((4, 2, *GRID), np.float16))) == 1
    assert write_maps(path, 4, np.full((4, 2, *GRID), np.nan, np.float16)) == {}
    assert np.isnan(read_maps(path, 0, 8, [])).all()


values = st.floats(-1000, 1000, width=32, allow_subnormal=False)


@given(arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=values))
def test_a_quantised_map_is_off_by_half_a_level_at_most(maps: np.ndarray) -> None:
    found, peak = Quantised.of(maps), maps.max(axis=(2, 3), keepdims=True)
    there = peak > 0
    kept = np.where(there, np.maximum(maps, -peak), np.nan)  # what lies further below 0 is cut
    error = np.abs(found[:] - kept)
    assert (error <= peak / 254 * (1 + 1e-5) + 1e-43)[there.repeat(maps.shape[2], 2).repeat(maps.shape[3], 3)].all()
    np.testing.assert_array_equal(np.isnan(found[:]), np.isnan(kept))
    assert found.steps.min() >= -127


@pytest.mark.parametrize("deepest", [-1.0, -50.0, -1e6])
def test_the_peak_is_kept_however_much_speaks_against_the_class(deepest: float) -> None:
    maps = np.array([[deepest, 0.5, 1.0]], np.float32)
    np.testing.assert_allclose(Quantised.of(maps)[()], [[-1, 0.5, 1]], atol=1 / 254 + 1e-6)


@pytest.mark.parametrize("value", [1.0, 2.5, 1e-30])
def test_a_constant_map_comes_back_from_eight_bits_as_it_was(value: float) -> None:
    maps = np.full((1, 1, 3, 2), value, np.float32)
    np.testing.assert_allclose(Quantised.of(maps)[:], maps, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_with_a_value_that_is_not_finite_is_no_map_and_leaves_the_others_alone(value: float) -> None:
    maps = np.ones((2, 2, 3, 2), np.float32)
    maps[1, 0, 2, 1] = value
    found = Quantised.of(maps)
    np.testing.assert_array_equal(np.isnan(found.scale), [[False, False], [True, False]])
    assert np.isnan(found[1, 0]).all()
    np.testing.assert_allclose(found[[0, 0, 1], [0, 1, 1]], 1)


def test_maps_quantised_sample_by_sample_are_those_quantised_together(rng: np.random.Generator) -> None:
    maps = rng.normal(size=(3, 2, 4, 4)).astype(np.float32)
    maps[:, :, 0, 0] = 1
    found = Quantised.empty(maps.shape)
    assert np.isnan(found[:]).all()
    for place in range(3):
        found[place] = maps[place]
    np.testing.assert_array_equal(found.steps, Quantised.of(maps).steps)
    np.testing.assert_array_equal(found.scale, Quantised.of(maps).scale)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 20), size=st.integers(1, 9), slots=st.integers(1, 3))
def test_maps_at_eight_bits_come_back_as_written_and_again_with_the_same_bytes(
    count: int, size: int, slots: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("maps") / "maps.zarr"
    create_maps(path, count, slots, GRID, size, "int8")
    maps = np.random.default_rng(0).normal(size=(count, slots, *GRID)).astype(np.float32)
    maps[::3] = np.nan
    files: dict[Path, str] = {}
    for start in reversed(range(0, count, size)):
        files |= write_maps(path, start, Quantised.of(maps[start : start + size]))
    np.testing.assert_array_equal(read_maps(path, 0, count, files), Quantised.of(maps)[:])
    again = write_maps(path, 0, Quantised.of(maps[:size]))
    assert again.items() <= files.items()
    assert {file: sha256(file) for file in files} == files


def test_a_shard_without_maps_at_eight_bits_has_no_files(tmp_path: Path) -> None:
    path = tmp_path / "maps.zarr"
    create_maps(path, 8, 2, GRID, 4, "int8")
    assert len(write_maps(path, 4, Quantised.of(np.ones((4, 2, *GRID))))) == 2
    assert write_maps(path, 4, Quantised.empty((4, 2, *GRID))) == {}
    assert np.isnan(read_maps(path, 0, 8, [])).all()


def test_at_eight_bits_a_sample_is_a_chunk_and_reads_alone(tmp_path: Path) -> None:
    path = tmp_path / "maps.zarr"
    create_maps(path, 8, 2, GRID, 4, "int8")
    array = zarr.open_array(path / "map", mode="r")
    assert array.chunks == (1, 2, *GRID)
    assert array.shards == (4, 2, *GRID)


def test_a_table_of_the_same_columns_has_the_same_bytes_and_its_schema(tmp_path: Path) -> None:
    columns = {"predicted": [1, 2], "true": [0, 2], "map_level": [3, 255], "count": [10, 20]}
    for name in ("a", "b"):
        write_table(tmp_path / name, columns, layout.CONFUSION)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_table(tmp_path / "a").schema.remove_metadata() == layout.CONFUSION
    assert read_table(tmp_path / "a", ["count"]).to_pydict() == {"count": [10, 20]}


@pytest.mark.parametrize("schema", layout.PARTS.values(), ids=layout.PARTS)
def test_every_table_can_be_empty(schema: pa.Schema, tmp_path: Path) -> None:
    empty: dict[str, Any] = {
        f.name: np.zeros((0, f.type.list_size)) if pa.types.is_fixed_size_list(f.type) else [] for f in schema
    }
    write_table(tmp_path / "x", empty, schema)
    assert read_table(tmp_path / "x").num_rows == 0


def test_a_table_that_is_none_is_one_line_that_names_the_repair(tmp_path: Path) -> None:
    path = tmp_path / "run/scores/part-00000.parquet"
    path.parent.mkdir(parents=True)
    for data in (b"", b"PAR1", b"no parquet at all"):
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"^Cannot read .*part-00000.*camaudit repair .*run`$") as caught:
            read_table(path)
        assert "\n" not in str(caught.value)


def test_the_shards_of_a_run_tile_its_samples(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert [(shard.start, shard.stop) for shard in run.shards] == [(0, 4), (4, 8), (8, 10)]
    assert [sample.id for sample in run.manifest(8, 10)] == ["s8", "s9"]


def test_a_shard_is_done_when_its_ledger_entry_exists_and_for_no_other_reason(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    commit(run, run.shards[0])
    commit(run, run.shards[1])
    run.withdraw(run.shards[0])
    assert list((run.path / "samples").glob("part-00000.*.parquet"))
    assert run.done() == [run.shards[1]]
    assert run.account().pending == 6


def test_the_account_adds_up_whatever_was_committed(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    commit(run, run.shards[0], failed=1, transient=1)
    commit(run, run.shards[2], failed=2)
    account = run.account()
    assert (account.processed, account.failed, account.pending, account.transient) == (3, 3, 4, 1)
    assert account.processed + account.failed + account.pending == account.samples == 10
    assert (account.shards_done, account.shards) == (2, 3)


def test_the_account_adds_up_while_shards_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(tmp_path)
    commit(run, run.shards[0])
    commit(run, run.shards[1])
    came = list[int]()

    def meanwhile(files: dict[str, Version]) -> dict[int, Version]:
        if not came:
            came.append(2)
            commit(run, run.shards[2])
            run.withdraw(run.shards[1])
        return by_shard(files)

    by_shard = ledger_module._by_shard
    monkeypatch.setattr(ledger_module, "_by_shard", meanwhile)
    ledger_module._read.cache_clear()
    account = run.account()
    assert account.processed + account.failed + account.pending == account.samples
    assert account.processed == 4


def test_failures_are_listed_with_their_reasons_up_to_a_number(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    commit(run, run.shards[0])
    commit(run, run.shards[1], failed=2)
    commit(run, run.shards[2], failed=1)
    assert run.failures(2) == [("s4", "reason 4"), ("s5", "reason 5")]
    assert len(run.failures(9)) == 3


def test_damage_is_found_by_checksums_and_an_untouched_run_has_none(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for shard in run.shards:
        commit(run, shard)
    assert list(run.damaged()) == []
    part = part_of(run, "samples", 1)
    part.write_bytes(b"x")
    (damage,) = run.damaged()
    assert (damage.shard, damage.file) == (run.shards[1], str(part.relative_to(run.path)))
    assert damage.advice == f"recompute it: camaudit repair {run.path}"


def test_committing_without_maps_keeps_those_there_are(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    shard = run.shards[1]
    commit(run, shard)
    counts = {"processed": 3, "failed": 1, "transient": 0}
    run.commit(shard, None, sample_rows(shard, 1), counts, run.entry(shard))
    np.testing.assert_array_equal(run.maps(4, 8), maps_of(run, shard))
    assert list(run.damaged()) == []


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"No run at .*make one with `camaudit run`"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="format 99, expected 9; update camaudit"):
        Run.open(tmp_path)


def test_a_run_reopened_is_the_run_that_was_created(tmp_path: Path) -> None:
    created = new_run(tmp_path)
    opened = Run.open(created.path)
    assert opened.record == created.record
    assert opened.classes == ("a", "b")
    assert opened.differences(record(), manifest_of(10).fingerprint) == []
    assert opened.differences(record(lr=1), manifest_of(9).fingerprint) == [
        "config.lr: None -> 1",
        f"manifest: {manifest_of(10).fingerprint} -> {manifest_of(9).fingerprint}",
    ]


def test_xarray_opens_the_maps_by_name_and_dimension(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for shard in run.shards:
        commit(run, shard)
    opened = xarray.open_zarr(run.path / "maps.zarr", consolidated=False)
    assert opened["map"].dims == ("sample", "slot", "y", "x")
    np.testing.assert_array_equal(opened["map"].values, run.maps(0, 10))


def test_a_part_reads_alone_with_plain_parquet(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    commit(run, run.shards[1])
    assert pq.read_table(part_of(run, "samples", 1))["id"].to_pylist() == ["s4", "s5", "s6", "s7"]


def test_runs_of_format_8_are_read_but_for_those_of_detectors_and_amended_to_this_one(
    tmp_path: Path,
) -> None:
    run = new_run(tmp_path)
    commit(run, run.shards[0])
    record = dict(run.record)
    write_json(run.path / layout.RUN_JSON, {**record, "format": 8, "config": {"roles": ["label"]}})
    assert Run.open(run.path).account().processed == 4
    assert Run.open(run.path).record["format"] == 8
    assert Run.open(run.path).amended(scoring=1).record["format"] == layout.FORMAT
    write_json(run.path / layout.RUN_JSON, {**record, "format": 8, "config": {"roles": ["detected"]}})
    with pytest.raises(RunError, match="has run format 8, expected 9; an earlier camaudit made it: audit again"):
        Run.open(run.path)


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": []}, {"config": {"roles": 3}}])
def test_a_run_of_format_8_whose_configuration_is_gone_or_strange_is_damaged(
    config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format": 8, **config}))
    with pytest.raises(RunError, match=r"Damaged: .*run.json is not what was written"):
        Run.open(tmp_path)
