"""What a detector's boxes were beside the objects there: all of them, and the objects that it missed.

Evidence has a row for each target with a map. Who is missed has none, and who is seldom seen has few. So what a
group of images is named wrongly by is asked of the table of boxes, of images that show an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audit.scores.given.errors import ERRORS, MISSED
from audit.store import layout

KINDS = (*ERRORS, MISSED)
BOX_COLUMNS = ("sample", "slot", "class_id", "score", "error", "true_class")
"""Of the table `detections`, as `box_columns` takes it."""
Attributes = dict[str, tuple[NDArray[np.int32], tuple[str, ...]]]
"""Name -> codes [n], -1 for none, and values."""


@dataclass(frozen=True)
class BoxErrors:
    """Boxes of images that show an object, and objects that were missed.

    Attributes:
        sample: [k] int64.
        slot: [k] int16 of the target, -1 of what has none.
        unit: [k] int64, numbered with those of `Evidence.unit`.
        class_id: [k] int32, what the box is named; of a missed object its class.
        true_class: [k] int32, class of the object that the error rests on; -1 of none.
        kind: [k] int8, place among `KINDS`.
        sure: [k] bool, named with confidence.
        attributes: name -> (codes [k] int32, -1 for none; values), with the values of `Evidence.attributes`.
    """

    sample: NDArray[np.int64]
    slot: NDArray[np.int16]
    unit: NDArray[np.int64]
    class_id: NDArray[np.int32]
    true_class: NDArray[np.int32]
    kind: NDArray[np.int8]
    sure: NDArray[np.bool_]
    attributes: Attributes

    def of(self, *kinds: str) -> NDArray[np.bool_]:
        """[k] which are of one of some kinds."""
        return np.isin(self.kind, [KINDS.index(kind) for kind in kinds])


def box_columns(boxes: pa.Table | None, looks: NDArray[np.int64], first: int) -> dict[str, NDArray[Any]]:
    """Of a shard's table `detections`: `score`, NaN of missed objects, `look`, and what `BoxErrors` has of the rows.

    Args:
        looks: difference hashes of the shard's samples, of which `first` is the first.
    """
    nothing = layout.DETECTIONS.empty_table()
    told = nothing if boxes is None else boxes.filter(pc.is_valid(boxes["error"]))
    kind = np.asarray(pc.index_in(told["error"], pa.array(KINDS)).to_numpy(), np.int8)
    columns = {name: np.asarray(told[name].to_numpy()) for name in ("sample", "class_id", "score")}
    columns |= {name: np.asarray(told[name].fill_null(-1).to_numpy()) for name in ("slot", "true_class")}
    columns |= {"kind": kind, "look": looks[columns["sample"] - first]}
    shows_object = np.isin(kind, [KINDS.index("right"), KINDS.index(MISSED)])
    shown = np.isin(columns["sample"], columns["sample"][shows_object])
    return {name: values[shown] for name, values in columns.items()}
