"""Label Studio: tasks with predictions of brush labels, to be imported into a project with the labelling config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from audit.export.labels.kind import Collection, LabelFormat, Part
from audit.export.labels.runs import brush_rle
from audit.images import is_url
from audit.segmentation import LabelImage
from audit.store.storage.files import write_atomically

_TAGS = ("label", "image")


class LabelStudio(LabelFormat):
    """`tasks.json` and `config.xml`.

    An image behind a URL is named by that, another as a local file (`/data/local-files/?d=`) below the manifest's
    root, which is to be Label Studio's document root. Unknown pixels are in no label.
    """

    name = "label-studio"
    says = "Label Studio tasks with brush predictions and their confidence, and the labelling config"
    joined = ("tasks.json", "config.xml")
    suffix = ".jsonl"

    def write(self, images: Iterator[LabelImage], part: Part, collection: Collection) -> None:
        """Write a line for each task."""
        part.write(part.payload(self.suffix), partial(_write_tasks, images, collection))

    def join(self, payloads: Sequence[Path], out: Path, collection: Collection) -> None:
        """Write all tasks as one list, and the config."""
        write_atomically(out / "tasks.json", partial(_join, payloads))
        config = _config(collection.classes)
        write_atomically(out / "config.xml", lambda path: path.write_text(config, encoding="utf-8"))


def _write_tasks(images: Iterator[LabelImage], collection: Collection, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for image in images:
            file.write(json.dumps(_task(image, collection)) + "\n")


def _task(image: LabelImage, collection: Collection) -> dict[str, Any]:
    results = [_result(image, class_id, collection.classes[class_id]) for class_id in image.class_ids]
    scores = [result["score"] for result in results]
    score = sum(scores) / len(scores) if scores else 0.0
    prediction = {"model_version": "camaudit", "score": score, "result": results}
    name = collection.image_name(image.sample)
    where = name if is_url(name) else f"/data/local-files/?d={quote(name)}"
    return {"data": {"image": where, "sample": image.sample.id}, "predictions": [prediction]}


def _result(image: LabelImage, class_id: int, name: str) -> dict[str, Any]:
    height, width = image.mask.shape
    label, picture = _TAGS
    value = {"format": "rle", "rle": brush_rle(image.mask == class_id + 1), "brushlabels": [name]}
    return {
        "id": f"{image.row}-{class_id}",
        "type": "brushlabels",
        "from_name": label,
        "to_name": picture,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": image.confidence[class_id],
        "value": value,
    }


def _config(classes: Sequence[str]) -> str:
    label, picture = _TAGS
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in classes)
    image = f'  <Image name="{picture}" value="$image"/>\n'
    return f'<View>\n{image}  <BrushLabels name="{label}" toName="{picture}">\n{labels}  </BrushLabels>\n</View>\n'


def _join(payloads: Sequence[Path], path: Path) -> None:
    separator = "[\n"
    with path.open("w", encoding="utf-8") as file:
        for payload in payloads:
            with payload.open(encoding="utf-8") as lines:
                for line in lines:
                    file.write(separator + line.rstrip("\n"))
                    separator = ",\n"
        file.write("\n]\n" if separator != "[\n" else "[]\n")
