"""Every format of label images, by its name: a format is one file and one line here."""

from __future__ import annotations

from audit.export.labels.coco import Coco, CocoComponents, CocoPanoptic
from audit.export.labels.cvat import Cvat
from audit.export.labels.fiftyone import FiftyOne
from audit.export.labels.kind import LabelFormat
from audit.export.labels.label_studio import LabelStudio
from audit.export.labels.mask_table import MaskTable
from audit.export.labels.soft import Npz, Zarr
from audit.export.labels.voc import VocPng, VocTree
from audit.export.labels.yolo import Yolo

LABEL_FORMATS: dict[str, LabelFormat] = {
    kind.name: kind()
    for kind in (
        *(VocPng, VocTree, Coco, CocoComponents, CocoPanoptic, MaskTable, Npz, Zarr),
        *(Cvat, LabelStudio, FiftyOne, Yolo),
    )
}
"""Name -> format."""
