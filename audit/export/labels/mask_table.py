"""Masks as one Parquet table: a row a mask, its pixels as COCO run lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audit.export.labels.kind import Collection, LabelFormat, Part
from audit.export.labels.runs import coco_rle
from audit.segmentation import UNKNOWN, LabelImage
from audit.store.storage.files import write_atomically
from audit.store.tables.parts import Rows, arrow_table, write_parquet

MASKS = pa.schema(
    [
        ("sample", pa.int64()),  # row in the manifest
        ("id", pa.string()),
        ("image", pa.string()),  # as the manifest has it, below its root
        ("height", pa.int32()),  # of the upright image, pixels
        ("width", pa.int32()),
        ("class_id", pa.int32()),  # null for the pixels of which nothing is said
        ("class", pa.string()),
        ("counts", pa.string()),  # COCO's compressed run lengths over height x width; null where nothing is masked
        ("area", pa.int64()),  # pixels
        ("confidence", pa.float32()),  # 0..1
    ]
)


class MaskTable(LabelFormat):
    """`masks.parquet`, columns `MASKS`. An image without a mask has one row without class and counts."""

    name = "mask-table"
    says = "one Parquet table, a row a mask: sample, class, run lengths, area, confidence"
    joined = ("masks.parquet",)
    suffix = ".parquet"

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write the shard's rows."""
        rows = Rows(MASKS)
        for image in images:
            for row in _rows(image, collection):
                rows.add(**row)
        table = arrow_table(rows.columns(), MASKS)
        part.write(part.payload(self.suffix), lambda path: write_parquet(table, path))

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Lay the parts end to end, one at a time."""
        write_atomically(out / "masks.parquet", lambda path: _join(payloads, path))


def _rows(image: LabelImage, collection: Collection) -> Iterator[dict[str, object]]:
    height, width = image.mask.shape
    name = collection.image_name(image.sample)
    common = {"sample": image.row, "id": image.sample.id, "image": name, "height": height, "width": width}
    nothing = {"class_id": None, "class": None, "counts": None, "area": 0, "confidence": None}
    for class_id in image.class_ids:
        mask = image.mask == class_id + 1
        named = {"class_id": class_id, "class": collection.classes[class_id], "confidence": image.confidence[class_id]}
        yield common | named | {"counts": coco_rle(mask)["counts"], "area": int(mask.sum())}
    unknown = image.mask == UNKNOWN
    if unknown.any():
        yield common | nothing | {"counts": coco_rle(unknown)["counts"], "area": int(unknown.sum())}
    elif not image.class_ids:
        yield common | nothing


def _join(payloads: Sequence[Path], path: Path) -> None:
    with pq.ParquetWriter(path, MASKS, compression="zstd", write_page_checksum=True) as writer:
        for payload in payloads:
            writer.write_table(pq.read_table(payload))
