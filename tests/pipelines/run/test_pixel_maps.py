"""Runs of methods with a value a pixel: maps at 8 bits, from the method to scores, exports and pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from faults.collection import (
    CLASSES,
    CONFIG,
    audit_here,
    camaudit,
    contents,
    draw_collection,
    finished,
    paint,
    planned,
    resumed,
    write_model,
)
from pixel_method import InputTimesGradient
from rewritten import map_files_of

from audit.attribution import METHODS, Cost
from audit.drawing.targets import read_picture
from audit.errors import RunError
from audit.export import PseudoMasks, export_run
from audit.images.reading import decode_image
from audit.models import load_classifier
from audit.store import Run
from pipelines.run.account import cost_line, maps_line
from pipelines.run.config import RunConfig
from pipelines.run.plan import Plan, prepare
from pipelines.run.shards.shard import Finished, rescore_shard


def pixels() -> RunConfig:
    """The method is known only while this file's tests run."""
    return replace(CONFIG, method="input-x-gradient")


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, InputTimesGradient.name, InputTimesGradient)
        yield


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return finished(tmp_path_factory.mktemp("finished"), config=pixels())


@pytest.fixture
def run(plan: Plan, tmp_path: Path) -> Run:
    """A copy that may be damaged."""
    return Run.open(shutil.copytree(plan.run.path, tmp_path / "run"))


def test_stored_maps_are_the_methods_own_within_half_a_level_also_below_zero(plan: Plan) -> None:
    assert plan.run.record["encoding"] == "int8"
    classifier = load_classifier(plan.task.spec, classes=CLASSES)
    shown = []
    with InputTimesGradient(classifier) as explain:
        for row, sample in enumerate(plan.run.manifest()):
            image, _ = classifier.preprocessing.fit(decode_image(Path(sample.image).read_bytes(), sample.image))
            raw, _ = explain(classifier.preprocessing.normalise(np.stack([image])), torch.tensor([sample.labels]))
            expected = (raw / raw.max())[0, 0].numpy()
            stored = plan.run.maps(row, row + 1)[0, 0]
            assert stored.dtype == np.float32
            assert np.abs(stored - expected).max() <= np.abs(expected).max() / 254 * 1.001
            shown.append(stored)
    assert np.min(shown) < -0.01


def test_a_pixel_run_is_the_same_whenever_it_is_made_and_scored(plan: Plan, tmp_path: Path) -> None:
    other = finished(tmp_path, config=pixels()).run
    before = contents(other)
    assert before == contents(plan.run)
    other.begin_scoring()
    for shard in other.shards:
        assert isinstance(rescore_shard(str(other.path), shard), Finished)
    assert contents(other) == before


def test_scores_of_pixel_maps_are_counted_on_every_pixel(plan: Plan) -> None:
    scores = [row for shard in plan.run.done() for row in plan.run.read("scores", shard).to_pylist()]
    assert len(scores) >= 10
    assert all(row["status"] == "scored" for row in scores)
    assert all(sum(row["inside"]) == 14 * 14 for row in scores)
    assert all(0 <= row["energy"] <= 1 for row in scores)


def test_a_sample_that_fails_has_no_map_and_a_map_without_evidence_neither(tmp_path: Path) -> None:
    plan = planned(tmp_path, config=pixels())
    (tmp_path / "001.png").write_bytes(b"no picture")
    paint(tmp_path / "002.png", (255, 255, 0))  # on which the tiny model is blank: its gradient is zero
    audit_here(plan)
    maps = plan.run.maps(0, 4)
    assert np.isnan(maps[1:3]).all()
    assert np.isfinite(maps[[0, 3], 0]).all()


@pytest.mark.parametrize("kind", ["emptied", "truncated", "deleted", "flipped"])
@pytest.mark.parametrize("place", [0, 1], ids=["map", "scale"])
def test_damage_to_either_array_is_an_error_is_named_and_repaired(
    place: int, kind: str, run: Run, plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = map_files_of(run, 2)[place]
    damage(path, kind)
    with pytest.raises(RunError, match="camaudit repair"):
        run.maps(8, 10)
    assert np.isfinite(run.maps(0, 8)).any()
    capsys.readouterr()
    assert camaudit(["status", str(run.path), "--check", "--json"], monkeypatch) == 1
    named = json.loads(capsys.readouterr().out)["damaged"]
    assert [(row["shard"], row["file"]) for row in named] == [(2, str(path.relative_to(run.path)))]
    assert camaudit(["repair", str(run.path)], monkeypatch) == 0
    again = resumed(plan, run.path, pixels())
    audit_here(again)
    assert contents(again.run) == contents(plan.run)


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "deleted":
        path.unlink()
        return
    if kind == "flipped":
        data[len(data) // 3] ^= 4
    path.write_bytes({"emptied": b"", "truncated": data[: len(data) // 2], "flipped": data}[kind])


def test_one_flipped_bit_anywhere_in_the_scale_is_an_error_never_a_wrong_number(run: Run) -> None:
    path = map_files_of(run, 0)[1]
    good = path.read_bytes()
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(RunError, match=r"Damaged maps of samples 0 to 3"):
            run.maps(0, 4)


def test_xarray_opens_levels_and_scale_by_name_and_their_product_is_the_maps(plan: Plan) -> None:
    opened = xarray.open_zarr(plan.run.path / "maps.zarr", consolidated=False, mask_and_scale=False)
    assert opened["map"].dims == ("sample", "slot", "y", "x")
    assert opened["scale"].dims == ("sample", "slot")
    np.testing.assert_array_equal((opened["map"] * opened["scale"]).values, plan.run.maps(0, 10))
    default = xarray.open_zarr(plan.run.path / "maps.zarr", consolidated=False)
    np.testing.assert_array_equal((default["map"] * default["scale"]).values, plan.run.maps(0, 10))


def test_exports_and_pictures_show_pixel_maps(plan: Plan, tmp_path: Path) -> None:
    assert ": 10 pseudo-masks" in export_run(plan.run, "voc-png", tmp_path, PseudoMasks(0.5))
    sample = plan.run.read("samples", plan.run.shards[0]).to_pylist()[1]
    picture = read_picture(plan.run, sample, 0, 0)
    assert picture.notices == []
    assert picture.heat is not None
    np.testing.assert_array_equal(picture.heat, plan.run.maps(1, 2)[0, 0])
    assert picture.overlay(0.5) is not None


def test_status_says_what_the_maps_take(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert camaudit(["status", str(plan.run.path), "--json"], monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)["maps"]
    assert found["bytes_a_sample"] == 2 * 32 * 32
    assert found["bytes_in_all"] == 10 * found["bytes_a_sample"]
    files = [path for path in (plan.run.path / "maps.zarr").rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) == 3 + 2 * 3
    assert found["bytes_on_disk"] == sum(len(path.read_bytes()) for path in files)
    assert camaudit(["status", str(plan.run.path)], monkeypatch) == 0
    assert "  maps: 2 x 32 x 32 at 8 bits, 2.05 kB a sample, 20.5 kB in all" in capsys.readouterr().out


def test_bytes_and_passes_are_said_in_words() -> None:
    maps = {"shape": [2, 224, 224], "encoding": "int8", "bytes_a_sample": 100_352}
    line = maps_line(maps | {"bytes_in_all": 280 * 100_352, "bytes_on_disk": 0})
    assert line == "maps: 2 x 224 x 224 at 8 bits, 100 kB a sample, 28.1 MB in all, compressed on disk 0 B so far"
    assert (
        cost_line("x", {"forward": 1, "backward": 2}, 280)
        == "x: 1 forward and 2 backward passes an image, 280 and 560 in all"
    )


@pytest.mark.parametrize(("passes", "size"), [(1, 32), (800, 5), (10_000, 1)])
def test_shards_of_an_expensive_method_are_short_and_stay_so_on_resume(
    passes: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InputTimesGradient, "cost", lambda _self, _targets: Cost(passes, 0))
    manifest, spec = str(draw_collection(tmp_path, 5)), write_model(tmp_path)
    config = RunConfig(method="input-x-gradient")
    begun = prepare(manifest, str(tmp_path / "run"), spec, config)
    assert begun.run.record["shard_size"] == size
    again = prepare(manifest, str(tmp_path / "run"), spec, config)
    assert again.resumed
    assert again.run.record["shard_size"] == size


def test_a_run_begun_with_a_shard_size_goes_on_with_it_where_none_is_given(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert resumed(plan, config=replace(CONFIG, shard_size=None)).resumed
    other = replace(CONFIG, shard_size=None, method="cam")
    assert resumed(plan, config=other, set_aside=True).run.record["shard_size"] == 32
