"""A sample beside what is like it: a sheet, and the same as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.concepts.channels import write_sheet
from audit.concepts.neighbours import Near, like_in_all_heat, like_looks, like_under_heat, row_of, slots_of
from audit.concepts.patches import PatchReader
from audit.concepts.sheets import Strip
from audit.datasets.reach import BELOW_ROOT, Reach
from audit.store import Run


def tell_alike(run: Run, name: str, most: int, reach: Reach = BELOW_ROOT) -> dict[str, Any]:
    """What is like the targets and the image of a sample, with the sheet that shows it.

    Args:
        name: id of the sample.
        most: neighbours of each sort.

    Raises:
        RunError: the run has no such sample, or it has no target.
    """
    sample, reader = row_of(run, name), PatchReader(run, reach)
    classes = slots_of(run, sample)
    near = {slot: like_under_heat(run, sample, slot, most) for slot in classes}
    heat, images = like_in_all_heat(run, sample, most), like_looks(run, sample, most)
    strips = []
    for slot, like in near.items():
        tiles = _overlays(run, reader, [(sample, slot), *((row.sample, row.slot) for row in like)])
        strips.append(Strip(classes[slot], ["like what lies", "under its heat"], tiles))
    for lines, like in ((["like it in all its heat"], heat), (["like it in its looks"], images)):
        wholes = [reader.overlay(row, None) for row in (sample, *(image.sample for image in like))]
        strips.append(Strip("the image", lines, [pixels for pixels in wholes if pixels is not None]))
    sheet = write_sheet(run, f"like {name}", strips)
    return {
        "id": name,
        "sample": sample,
        "targets": [
            {"slot": slot, "class": classes[slot], "like": [_plain(run, row) for row in like]}
            for slot, like in near.items()
        ],
        "heat": [_plain(run, row) for row in heat],
        "images": [_plain(run, row) for row in images],
        "sheet": str(sheet) if sheet else None,
    }


def _overlays(run: Run, reader: PatchReader, targets: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    """The heat of targets over their images."""
    tiles = (
        reader.overlay(sample, np.nan_to_num(run.maps(sample, sample + 1)[0, slot].astype(np.float32)))
        for sample, slot in targets
    )
    return [pixels for pixels in tiles if pixels is not None]


def _plain(run: Run, near: Near) -> dict[str, Any]:
    name = run.manifest_file.rows(near.sample, near.sample + 1, ["id"])["id"][0].as_py()
    told = {"id": name, "sample": near.sample, "nearness": near.nearness}
    return told if near.slot < 0 else told | {"slot": near.slot, "class": slots_of(run, near.sample)[near.slot]}
