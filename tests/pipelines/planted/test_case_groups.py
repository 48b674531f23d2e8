"""The worked case of an attribute that goes with a class: what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.datasets import read_table
from audit.images.masks import object_mask, read_mask
from audit.images.reading import decode_image, read_bytes
from tests.benchmarks.truth.case_groups import BALANCED, SIZE, TAG, USUAL, Case, draw, draw_image, site_of


def shares_south(one_in: int, count: int = 40) -> dict[str, float]:
    return {label: np.mean([site_of(label, turn, one_in) == "south" for turn in range(count)]) for label in USUAL}


def test_nine_in_ten_images_of_a_class_are_from_its_usual_site() -> None:
    assert shares_south(10) == pytest.approx({"disc": 0.1, "ring": 0.9, "bar": 0.5, "star": 0.5})


def test_balanced_every_class_is_from_both_sites_alike() -> None:
    assert shares_south(BALANCED) == dict.fromkeys(USUAL, 0.5)


def test_images_of_both_sites_differ_by_the_tag_alone_which_leaves_the_object_alone() -> None:
    for index in range(6):
        (north, mask), (south, same) = (draw_image(3, "test", index, site) for site in ("north", "south"))
        changed = (north != south).any(axis=2)
        np.testing.assert_array_equal(mask, same)
        assert changed.any()
        assert not (changed & mask).any()
        rows, columns = np.nonzero(changed)
        depth = round(TAG.size * SIZE) // 2
        assert min(rows.max() - rows.min(), columns.max() - columns.min()) < depth


def test_the_table_is_indexed_with_site_as_an_attribute_and_each_mask_holds_its_object(tmp_path: Path) -> None:
    table = draw(tmp_path / "train", Case(train=4), "train", one_in=4)
    assert list(pd.read_csv(table).columns) == ["path", "label", "mask", "site"]
    manifest = read_table(table, mask_kind="binary")
    assert manifest.attributes == ("site",)
    assert (manifest.classes, len(manifest)) == (tuple(sorted(USUAL)), 16)
    for sample in manifest:
        image = decode_image(read_bytes(sample.image), sample.id)
        mask = read_mask(sample, manifest.mask_kind, image.shape[:2], len(manifest.classes))
        assert 0.01 < object_mask(mask, sample.labels[0]).mean() < 0.4
    sites = {sample.id: sample.attributes["site"] for sample in manifest}
    assert (sites["disc_0000"], sites["disc_0001"]) == ("south", "north")
    assert (sites["ring_0000"], sites["ring_0001"]) == ("north", "south")


def test_the_fix_keeps_the_scenes_and_deals_out_the_sites_anew(tmp_path: Path) -> None:
    tables = [pd.read_csv(draw(tmp_path / name, Case(train=4), "train", n)) for name, n in (("a", 4), ("b", BALANCED))]
    assert (tables[0]["path"] == tables[1]["path"]).all()
    alike = tables[0]["site"] == tables[1]["site"]
    assert 0 < alike.sum() < len(alike)
    for name, same in zip(tables[0]["path"], alike, strict=True):
        first, second = (decode_image(read_bytes(str(tmp_path / run / name)), name) for run in ("a", "b"))
        assert np.array_equal(first, second) == same
