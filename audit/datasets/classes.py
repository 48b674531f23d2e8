"""Class names: the vocabulary of PASCAL VOC, and which outputs of a model stand for the classes of a data set.

From ImageNet-1k to VOC, a category is taken when what it shows is labelled as the class by VOC's annotation guidelines:
bicycles include tricycles and unicycles, boats all ships, trains their carriages but no trams, cars no pickups, trucks
or emergency vehicles, cats and dogs domestic ones only, dining tables no desks, monitors no laptops. Parts (car wheel,
car mirror), scenes (dock, boathouse) and homonyms (plane, the tool; crane, the machine) are left out.

- person has none: groom, ballplayer and scuba diver are known by dress and scene, and most people are none of them. An
  audit of person through them would describe the mapping, not the model; who wants it gives a mapping file.
- horse is sorrel alone, cow is ox alone, pottedplant is pot (flowerpot) alone, motorbike is moped and motor scooter.
- every other class has the categories listed in imagenet_voc.json, by output index with torchvision's names.
"""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
import re
import runpy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path

from audit.errors import ManifestError, ModelError, UnmappedError

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

_IMAGENET_OUTPUTS = 1000
_ENOUGH_NAMES = 0.9
_CSV_HEADER = ["class", "output"]


@dataclass(frozen=True)
class ClassMapping:
    """Which outputs of a model name each class of a data set.

    Attributes:
        classes: the data set's vocabulary.
        outputs: for each class the model's output indices, ascending; empty where the model cannot name it.
    """

    classes: tuple[str, ...]
    outputs: tuple[tuple[int, ...], ...]


def map_classes(
    data_classes: Sequence[str],
    model_classes: Sequence[str] | None,
    mapping: str | Path | None = None,
    output_count: int | None = None,
) -> ClassMapping:
    """Find the outputs of a model that stand for the classes of a data set.

    In this order: the mapping file; for a model without names, position; for VOC classes and a model of ImageNet's
    1000 categories, the built-in table; else the name, whatever its case, spaces, '_' and '-'.

    Args:
        data_classes: the data set's vocabulary.
        model_classes: a name for each output, or None where the model has none.
        mapping: a JSON file `{"class": ["model class" or output index, ...]}`, or a CSV file with a class and a model
            class or output index in each line. Classes it does not name are unmapped.
        output_count: number of outputs of a model without names.

    Raises:
        ManifestError: the mapping file cannot be read or names a class that the data set does not have.
        ModelError: the mapping file names an output that the model does not have, or no class could be mapped.

    >>> map_classes(["dog", "dining table"], ["cat", "Dining_Table", "dog"]).outputs
    ((2,), (1,))
    """
    data, model = tuple(data_classes), None if model_classes is None else tuple(model_classes)
    if mapping is not None:
        outputs = _by_file(data, _Outputs(model, output_count), Path(mapping))
    elif model is None or data == model:
        outputs = _by_position(data, len(data) if model else output_count)
    elif _is_imagenet(model) and {_fold(name) for name in data} <= {_fold(name) for name in VOC_CLASSES}:
        outputs = _imagenet_voc(data)
    else:
        outputs = [_Outputs(model, None).named(name) for name in data]
    if not any(outputs):
        raise UnmappedError(
            f"Expected outputs for {preview(data)}, got none from {_describe(model)}; give a mapping file"
        )
    return ClassMapping(data, tuple(outputs))


def preview(names: Iterable[str], most: int = 5) -> str:
    """The first few names, for a message.

    >>> preview("abcdefg")
    'a, b, c, d, e, ... (7)'
    """
    shown = list(names)
    return ", ".join(shown) if len(shown) <= most else f"{', '.join(shown[:most])}, ... ({len(shown)})"


class _Outputs:
    """A model's outputs by name or index."""

    def __init__(self, names: tuple[str, ...] | None, count: int | None) -> None:
        self.count = count if names is None else len(names)
        self._exact, self._folded = _positions(names or ()), _positions(map(_fold, names or ()))

    def named(self, name: str) -> tuple[int, ...]:
        """Outputs of that very name, else of the same letters; none where two names have those letters (Cardigan)."""
        if name in self._exact:
            return self._exact[name]
        alike = self._folded.get(_fold(name), ())
        return alike if len(alike) == 1 else ()

    def find(self, wanted: str | int, path: Path) -> tuple[int, ...]:
        """Outputs that an entry of a mapping file means: a name, or an index also when written as text."""
        outputs = self.named(wanted) if isinstance(wanted, str) else ()
        if not outputs and re.fullmatch("[0-9]+", str(wanted)) and (self.count is None or int(wanted) < self.count):
            outputs = (int(wanted),)
        if not outputs:
            raise ModelError(f"Expected outputs of the model in {path}, got {wanted!r}; use its class names or indices")
        return outputs


def _positions(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    places: dict[str, tuple[int, ...]] = {}
    for place, name in enumerate(names):
        places[name] = (*places.get(name, ()), place)
    return places


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _by_position(data: tuple[str, ...], count: int | None) -> list[tuple[int, ...]]:
    if count != len(data):
        raise ModelError(
            f"Expected {len(data)} outputs, one a class, got {count} without names; "
            "name them (--classes) or give a mapping file"
        )
    return [(place,) for place in range(len(data))]


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """Torchvision's names of ImageNet's categories, from its file and without torch; none where that has moved."""
    package = importlib.util.find_spec("torchvision")
    try:
        names = runpy.run_path(str(Path(str(package and package.origin)).parent / "models" / "_meta.py"))
        return tuple(names["_IMAGENET_CATEGORIES"])
    except (OSError, KeyError):
        return ()


def _is_imagenet(model: tuple[str, ...]) -> bool:
    """Whether the outputs are ImageNet's: nearly all of the table's names agree, be it only up to the first comma."""
    if len(model) != _IMAGENET_OUTPUTS:
        return False
    expected = {int(index): name for entries in _table().values() for index, name in entries.items()}
    agreeing = sum(_fold(model[index].split(",")[0]) == _fold(name) for index, name in expected.items())
    return agreeing >= _ENOUGH_NAMES * len(expected)


def _imagenet_voc(data: tuple[str, ...]) -> list[tuple[int, ...]]:
    outputs = {_fold(name): tuple(sorted(map(int, entries))) for name, entries in _table().items()}
    return [outputs[_fold(name)] for name in data]


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    """For each VOC class the ImageNet categories it covers, name by output index."""
    text = resources.files("audit.datasets").joinpath("imagenet_voc.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, str]] = json.loads(text)
    return table


def _by_file(data: tuple[str, ...], model: _Outputs, path: Path) -> list[tuple[int, ...]]:
    entries = _read_mapping(path)
    strangers = [name for name in entries if name not in data]
    if strangers:
        raise ManifestError(f"Expected classes among {preview(data)} in {path}, got {strangers[0]!r}; correct it")
    return [_union(model.find(wanted, path) for wanted in entries.get(name, ())) for name in data]


def _union(groups: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted({index for group in groups for index in group}))


def _read_mapping(path: Path) -> dict[str, list[str | int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parse_csv(text) if path.suffix.lower() == ".csv" else _parse_json(text)
    except OSError as error:
        raise ManifestError(f"Expected a mapping of classes at {path}, got: {error.strerror}; check the path") from None
    except ValueError as error:
        raise ManifestError(f"Expected a mapping of classes in {path}, got: {error}; correct it") from None


def _parse_json(text: str) -> dict[str, list[str | int]]:
    entries = json.loads(text)
    if not isinstance(entries, dict):
        raise ValueError("no object of class to model classes")
    wanted = {name: value if isinstance(value, list) else [value] for name, value in entries.items()}
    for name, values in wanted.items():
        if not all(type(value) in (str, int) for value in values):
            raise ValueError(f"neither names nor indices for {name!r}")
    return wanted


def _parse_csv(text: str) -> dict[str, list[str | int]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    wanted: dict[str, list[str | int]] = {}
    for row in islice(rows, int(rows[:1] == [_CSV_HEADER]), None):
        if len(row) != 2:
            raise ValueError(f"a line of {len(row)} columns, not 2: {','.join(row)!r}")
        wanted.setdefault(row[0].strip(), []).append(row[1].strip())
    return wanted


def _describe(model: tuple[str, ...] | None) -> str:
    return "a model without names" if model is None else f"a model of {preview(model)}"
