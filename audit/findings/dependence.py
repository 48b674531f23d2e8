"""Whether images look as if many were of one video, patient or burst, though no unit was named.

Tests and intervals take images for independent. Frames of one video are not: twenty of them are hardly more evidence
than one, and q comes out far too small. Only who made the collection knows; but often names or looks give it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.store import Run
from audit.wording import number, percent

FEWEST_RUNS = 5
LONGEST_RUN = 200
"""More images of one name are a collection, or a part of it, that is numbered through."""
RUNS_A_LABEL = 2
"""With no more, the names are those of the classes, in a folder for training and one for testing."""
REGULAR = 0.5
"""Share of the steps from number to number that are the same, as in a run, but not in a choice of many images."""
SHARE = 0.2
"""Of the images, that are in such runs, or look like the next one."""
BITS = 16
TIMES = 5
"""How much more often than images far apart neighbours must look alike."""

_LAST_NUMBER = r"^(?P<name>.*?)(?P<number>\d+)\D*(?:\.\w+)?$"


def why_dependent(run: Run, sample: NDArray[np.integer], look: NDArray[np.integer]) -> str:
    """A sentence, without its full stop, on why images may not be independent; empty where nothing speaks for it.

    Args:
        sample: [n] rows of the manifest, ascending.
        look: [n] difference hashes of their images.
    """
    table = run.manifest_file.rows(columns=["id", "labels"]).take(pa.array(sample))
    seen = _numbered(table) or _in_sequence(look)
    if not seen:
        return ""
    return (
        f"Images may not be independent: {seen}. Frames of one video, slices of one patient or shots of one burst are "
        "one witness, and q is too small where they count as many; --unit names the attribute that they share"
    )


def units_said(summary: Mapping[str, Any]) -> str:
    """What a summary says of units, as a sentence without its full stop; empty where each image is one, as it seems.

    Copies are told for fixed cameras: there the images of a day may be alike, and few have a vote.

    >>> units_said({"units": {"attribute": "patient", "number": 80, "images": 400, "doubt": ""}})
    'Images of one patient count as one: 80 units of 400 images'
    """
    units = summary.get("units")
    if not units or units["doubt"]:
        return str(units["doubt"]) if units else ""
    if units["number"] == units["images"]:
        return ""
    what = "nearly the same picture" if units["attribute"] is None else f"one {units['attribute']}"
    return f"Images of {what} count as one: {number(units['number'])} units of {number(units['images'])} images"


def _numbered(table: pa.Table) -> str:
    first, count = numbered_runs(table["id"], table["labels"])
    return f"{number(count)} of {number(len(table))} ids come in runs, as {first}" if count else ""


def numbered_runs(ids: pa.ChunkedArray, labels: pa.ChunkedArray) -> tuple[str, int]:
    """Images whose ids are a name and a number that goes on from image to image, as vid01_0001, vid01_0002, vid02_0001.

    No runs are numbers without several names (000001, COCO_val2014_000000000042), names that tell the class
    (n01440764_10026) and numbers with gaps of all lengths (2007_000032, 2007_000063).

    Args:
        ids: [n] strings.
        labels: [n] lists of classes.

    Returns:
        The first two of a run, and how many images are in runs; 0 where they are not many enough.
    """
    rows = _rows(ids, labels)
    size = rows.groupby("name")["number"].transform("size")
    rows = rows[(size > 1) & (size <= LONGEST_RUN)]
    step = rows.groupby("name")["number"].diff().dropna()
    runs, of_labels = rows["name"].nunique(), rows["label"].nunique()
    if len(rows) < SHARE * len(ids) or runs < FEWEST_RUNS or runs <= RUNS_A_LABEL * of_labels:
        return "", 0
    if step.value_counts().iloc[0] < REGULAR * len(step):
        return "", 0
    return ", ".join(rows["id"].iloc[:2]), len(rows)


def _rows(ids: pa.ChunkedArray, labels: pa.ChunkedArray) -> pd.DataFrame:
    """Id, name, number and first label of each id that has a number, by name and number; of equal ones the first."""
    parts = pc.extract_regex(ids, _LAST_NUMBER)
    fields = {name: pc.struct_field(parts, name) for name in ("name", "number")}
    # An empty list has no first element to ask for.
    first = pc.if_else(pc.equal(pc.list_value_length(labels), 0), pa.scalar([-1], labels.type), labels)
    rows = pd.DataFrame(
        {
            "id": ids.to_pandas(),
            "name": fields["name"].to_pandas(),
            "number": pc.cast(fields["number"], pa.float64()).to_pandas(),
            "label": pc.list_element(first, 0).to_pandas(),
        }
    )
    rows = rows.dropna(subset="name").drop_duplicates(["name", "number"])
    return rows.sort_values(["name", "number"], kind="stable")


def _in_sequence(look: NDArray[np.integer]) -> str:
    share = alike_in_sequence(look)
    return f"{percent(share)} of them look like the next one" if share else ""


def alike_in_sequence(look: NDArray[np.integer]) -> float:
    """Share of images that look like the next one, without being equal; 0 where it is small or as large far apart."""
    bits = np.asarray(look, np.int64).view(np.uint64)
    near, far = (_alike(bits, np.roll(bits, -step)) for step in (1, len(bits) // 2))
    return near if near >= max(SHARE, TIMES * far) else 0.0


def _alike(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    different = np.bitwise_count(a ^ b)
    return float(((different > 0) & (different <= BITS)).mean()) if len(a) else 0.0
