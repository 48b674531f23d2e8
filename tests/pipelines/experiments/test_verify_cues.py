"""Interventions on cues that lie everywhere, all around or across the object, and on maps that mislead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faults.collection import audit_here, save
from rewritten import put_findings

from audit.datasets.manifest import Manifest, Sample
from audit.findings import Claim
from audit.models import ModelSpec, load_classifier
from audit.store import Run, layout
from audit.store.tables.parts import read_table
from pipelines.asked import Verification
from pipelines.experiments.verify import verify
from pipelines.run.config import RunConfig
from pipelines.run.plan import prepare
from pipelines.run.shards.shard import Finished

CLASSES = ("tinted", "framed", "lined", "red", "blank", "plain", "bare")
SIDE, EACH = 48, 6
LARGE, SMALL = 34, 20

MODEL = """
import torch
from torch import nn


class Trunk(nn.Module):
    # One channel each: green cast, magenta, white, red, and a corner that is lit in every image.

    def forward(self, x):
        r, g, b = x.unbind(dim=1)
        green = (g - r - 0.2).relu()
        magenta = (torch.minimum(r, b) - g - 0.5).relu()
        white = (x.amin(dim=1) - 0.8).relu()
        red = (r - torch.maximum(g, b) - 0.3).relu()
        corner = torch.zeros_like(r)
        corner[:, -8:, -8:] = 1
        return nn.functional.avg_pool2d(torch.stack([green, magenta, white, red, corner], dim=1), 4)


class Known(nn.Module):
    # What the corner adds to every class alike changes no answer, but Grad-CAM shows it.

    def __init__(self, corner):
        super().__init__()
        self.trunk = Trunk()
        self.head = nn.Linear(5, 7)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.weight[:4, :4] = torch.diag(torch.tensor([400.0, 120.0, 600.0, 300.0]))
            self.head.weight[:, 4] = corner
            self.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0]))

    def forward(self, x):
        return self.head(self.trunk(x).mean(dim=(2, 3)))


def build():
    return Known(0.0)


def misleading():
    return Known(2000.0)
"""


def _sample(folder: Path, index: int, rng: np.random.Generator) -> Sample:
    """A square object, in the mask with what is marked of it; a large one below a line."""
    name = CLASSES[index % len(CLASSES)]
    side = LARGE if name == "lined" else SMALL
    picture = rng.integers(0, 20, (SIDE, SIDE, 3), dtype=np.uint8)
    if name == "tinted":
        picture[..., 1] += 80
    top, left = (int(place) for place in rng.integers(4, SIDE - side - 4, 2))
    inside = (slice(top, top + side), slice(left, left + side))
    picture[inside] = (200, 20, 20) if name == "red" else (20, 20, 200)
    if name == "framed":
        for edge in (slice(0, 2), slice(-2, None)):
            picture[edge] = picture[:, edge] = (255, 0, 255)
    if name == "lined":
        picture[top + 16 : top + 20] = 255
    save(folder / f"{index}.png", picture)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[inside] = index % len(CLASSES) + 1
    save(folder / f"{index}-mask.png", mask)
    return Sample(f"{name}-{index}", f"{index}.png", (index % len(CLASSES),), f"{index}-mask.png", ())


def verified(folder: Path, build: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Effects, blank targets as controls, and the outcome of a claim about each class with a cue, and the red one."""
    rng = np.random.default_rng(0)
    samples = [_sample(folder, index, rng) for index in range(EACH * len(CLASSES))]
    manifest = Manifest.from_samples(samples, CLASSES, folder).save(folder / "manifest.parquet")
    (folder / "model.py").write_text(MODEL)
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    spec = ModelSpec(f"{folder / 'model.py'}:{build}", layer="trunk", size=SIDE, mode="squash", mean=zero, std=one)
    plan = prepare(str(manifest), str(folder / "run"), spec, RunConfig(shard_size=42, batch_size=42, roles=("label",)))
    assert all(isinstance(end, Finished) for end in audit_here(plan))
    _accuse(plan.run)
    record = verify(plan.run, load_classifier(spec, classes=CLASSES), Verification(), _targets(plan.run))
    table = read_table(plan.run.path / layout.FINDINGS / layout.EFFECTS).to_pandas()
    return table, {cause["claim_id"].removeprefix("class:"): cause["outcome"] for cause in record["causes"]}


def _accuse(run: Run) -> None:
    rows: dict[str, Any] = {name: [None] * 4 for name in Claim.schema().names}
    rows |= {"claim_id": [f"class:{name}" for name in CLASSES[:4]], "kind": ["class"] * 4, "class_id": range(4)}
    rows |= {"class": CLASSES[:4], "subject": ["looks off the object"] * 4, "found": [True] * 4, "details": ["{}"] * 4}
    put_findings(run, layout.CLAIMS, rows, Claim.schema())


def _targets(run: Run) -> pd.DataFrame:
    rows = pd.concat([run.read("targets", shard).to_pandas() for shard in run.done()], ignore_index=True)
    rows = rows.loc[rows["class_id"] <= CLASSES.index("blank"), ["sample", "slot", "class_id", "probability"]]
    blank = (rows["class_id"] == CLASSES.index("blank")).to_numpy()
    return rows.assign(severity=rows["probability"], arm=np.where(blank, "control", "flagged"), control=-1)


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, str]]:
    return verified(tmp_path_factory.mktemp("faithful"), "build")


def test_a_tint_and_a_frame_are_confirmed(faithful: tuple[pd.DataFrame, dict[str, str]]) -> None:
    table, outcomes = faithful
    for name in ("tinted", "framed"):
        assert outcomes[name] == "confirmed"
        assert set(table.loc[table["class"] == name, "outcome"]) == {"confirmed"}


def test_a_tint_is_seen_by_other_colours_alone(faithful: tuple[pd.DataFrame, dict[str, str]]) -> None:
    means = faithful[0].groupby("class")[["background", "colour"]].mean()
    assert means.loc["tinted", "colour"] > 0.7 > 0.1 > abs(means.loc["tinted", "background"])
    assert means.loc["framed", "background"] > 0.9


def test_a_line_across_a_large_object_survives_every_background_and_is_not_refuted(
    faithful: tuple[pd.DataFrame, dict[str, str]],
) -> None:
    table, outcomes = faithful
    lined = table[table["class"] == "lined"]
    assert lined["reliance"].max() < 0.1
    assert lined["object"].min() > 0.25
    assert lined["foreign"].min() > 0.9
    assert set(lined["outcome"]) == {"inconclusive"}
    assert outcomes["lined"] == "inconclusive"


def test_a_map_that_misleads_is_refuted_and_a_cue_that_it_hides_is_not(tmp_path: Path) -> None:
    table, outcomes = verified(tmp_path, "misleading")
    assert outcomes["red"] == "refuted"
    assert set(table.loc[table["class"] == "red", "outcome"]) == {"refuted"}
    assert outcomes["tinted"] == outcomes["framed"] == "confirmed"
