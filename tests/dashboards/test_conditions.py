"""What pages say of a run that is not finished and judged, and of files that they may not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from pages import page, said
from rewritten import put_manifest
from run_states import STATES
from small_run import HEIGHT, WIDTH, make_run

from audit.datasets.manifest import Manifest
from audit.datasets.reach import Reach
from audit.drawing.targets import GREY, ON_GREY, read_picture, thumbnail_webp
from audit.findings import Rules
from audit.findings.judge import flag
from audit.store import Run, layout
from dashboards.condition import conditions
from dashboards.tables import RunTables


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


def opened(path: Path) -> RunTables:
    return RunTables(Run.open(path))


def test_only_a_damaged_run_is_called_damaged(tmp_path: Path) -> None:
    looked_at = {state: opened(build(tmp_path / state)) for state, build in STATES.items()}
    for tables in looked_at.values():
        for sample in range(tables.run.samples):
            tables.sample(sample)
            tables.targets_of(sample)
    assert {state for state, tables in looked_at.items() if tables.notices} == {"damaged part"}


def test_a_run_that_is_finished_and_judged_needs_no_line(tmp_path: Path) -> None:
    assert conditions(opened(make_run(tmp_path))) == []


def test_a_run_that_went_on_since_it_was_flagged_is_told_and_not_called_damaged(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    run = Run.open(path)
    last, entry = run.shards[2], run.entry(run.shards[2])
    assert entry is not None
    run.withdraw(last)
    flag(run, Rules())
    run.ledger.enter(last.index, entry, None)
    tables = opened(path)
    assert tables.notices == []
    assert conditions(tables) == [
        f"The findings are of 4 processed samples, and 5 are processed now; make them again with: camaudit flag {path}"
    ]


def test_a_run_whose_scoring_was_interrupted_is_told(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    run = Run.open(path).begin_scoring()
    entry = run.entry(run.shards[0])
    assert entry is not None
    scores = run.read("scores", run.shards[0]).to_pydict() | {"lift": [1.0, 1.0]}
    run.commit(run.shards[0], None, {"scores": scores}, {**entry, "scoring": 1}, entry)
    assert conditions(opened(path)) == [
        f"Scoring was interrupted: 2 of 3 shards have the scores of before. Go on with: camaudit score {path}"
    ]


def test_the_command_that_goes_on_is_named_with_what_is_pending(tmp_path: Path) -> None:
    path = make_run(tmp_path, shards=1)
    Run.open(path).amended(command="camaudit run val.parquet -o val")
    (line,) = conditions(opened(path))
    assert line.startswith("The run is not finished: 4 of 6 samples are pending. ")
    assert line.endswith("go on with: camaudit run val.parquet -o val")


def test_a_threshold_that_nothing_chose_is_none(tmp_path: Path) -> None:
    assert opened(make_run(tmp_path / "masks")).threshold() == pytest.approx(1 / layout.LEVELS)
    for state in ("no masks", "all failed", "running"):
        assert opened(STATES[state](tmp_path / state)).threshold() is None


def test_of_a_lost_image_the_map_and_the_object_are_drawn_on_grey(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    row = opened(path).sample(0) or {}
    (tmp_path / "images" / "0.png").unlink()
    seen = read_picture(Run.open(path), row, 0, 0)
    assert seen.on_grey
    assert seen.image is not None
    assert seen.image.shape == (HEIGHT, WIDTH, 3)
    assert (seen.image == GREY).all()
    assert seen.heat is not None
    assert seen.target is not None
    assert [ON_GREY in notice for notice in seen.notices] == [True]


def test_a_size_that_no_image_has_is_not_drawn(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    row = opened(path).sample(0) or {}
    (tmp_path / "images" / "0.png").unlink()
    for size in ({"height": 2**31 - 1, "width": 2**31 - 1}, {"height": -1}, {"width": 0}):
        seen = read_picture(Run.open(path), row | size, 0, 0)
        assert (seen.image, seen.on_grey) == (None, False)
        assert len(seen.notices) == 1


@pytest.mark.parametrize("root", ["/", "", "ROOT"])
def test_a_strangers_run_shows_no_file_outside_its_root(root: str, tmp_path: Path) -> None:
    path = make_run(tmp_path)
    listed = Manifest.open(path / layout.MANIFEST)
    secret = tmp_path / "secret.png"
    (tmp_path / "images" / "0.png").rename(secret)
    samples = [replace(sample, image=str(secret)) for sample in listed]
    named = root.replace("ROOT", listed.root)
    put_manifest(Run.open(path), Manifest.from_samples(samples, listed.classes, named))
    app = page("review", path, at="0:0")
    assert not app.exception
    assert "--allow-outside" in said(app).replace("\\", "")
    run, row = Run.open(path), opened(path).sample(0) or {}
    hidden, shown = (read_picture(run, row, 0, 0, reach=reach) for reach in (Reach(), Reach(outside=True)))
    assert hidden.on_grey
    assert shown.image is not None
    assert len(np.unique(shown.image)) > 9
    assert all("--allow-outside" in notice for notice in thumbnail_webp(run, row, 0, 0)[1][:1])


def test_no_url_is_called_for_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("audit.drawing.targets.read_bytes", lambda path, attempts: called.append(path) or b"")
    path = make_run(tmp_path)
    listed = Manifest.open(path / layout.MANIFEST)
    samples = [replace(sample, image=f"https://elsewhere.example/{sample.id[:1]}.png") for sample in listed]
    put_manifest(Run.open(path), Manifest.from_samples(samples, listed.classes, listed.root))
    app = page("review", path, at="0:0")
    assert not app.exception
    assert "URLs are read with --remote alone" in said(app).replace("\\", "")
    assert called == []
    read_picture(Run.open(path), opened(path).sample(0) or {}, 0, 0, reach=Reach(remote=True))
    assert called == ["https://elsewhere.example/a.png"]
