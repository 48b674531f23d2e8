"""Label images for other tools: every format, and how one is written shard by shard."""

from audit.export.labels.kind import Collection, LabelFormat, Part
from audit.export.labels.registry import LABEL_FORMATS
from audit.export.labels.writing import Spread, export_labels, one_by_one, write_shard

__all__ = [
    "LABEL_FORMATS",
    "Collection",
    "LabelFormat",
    "Part",
    "Spread",
    "export_labels",
    "one_by_one",
    "write_shard",
]
