"""Concepts as a run keeps them: `RUN/concepts`, a file a class or claim, written whole and signed.

A file says what its concepts were made from: the run's ledger, and of a claim the findings. Are these others now, it is
stale: nobody is shown concepts of images that are no longer the claim's.
"""

from __future__ import annotations

import hashlib
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.concepts.patches import Target
from audit.concepts.ways.way import ALIKE
from audit.errors import RunError
from audit.findings import Claim, Findings
from audit.findings.records import GIVEN_ROLES
from audit.store import Run, layout
from audit.store.storage.files import file_stem, read_json, write_json
from audit.store.storage.objects import Location
from audit.store.tables.records import Record, column

_TEXT, _WHOLE, _SMALL, _DOUBLE = pa.string(), pa.int64(), pa.int32(), pa.float64()
_SPOKEN = (layout.EFFECTS, layout.CAUSES)
"""Files of the findings that interventions write: they change nobody's images."""
_COUNT = 4
"""Concepts of a first search."""
_USUAL = {"way": "nmf", "seed": 0}
"""What `camaudit units` takes where it is not told."""
STALE = "Its concepts were found before the run, or what was found in it, changed; again:"
UNTRIED = "What the heat of these claims lies on was not put together to concepts; images are read again for it:"
"""What is said, ahead of a command."""


@dataclass(frozen=True)
class About:
    """What concepts are of: a class, by all its heat; or a claim, by its heat off the object.

    Attributes:
        class_name: None for a claim about all classes.
        claim_id: None for a class.
    """

    class_name: str | None
    claim_id: str | None = None

    @classmethod
    def claim(cls, claim: Claim) -> About:
        """A claim."""
        return cls(claim.class_name, claim.claim_id)

    @property
    def name(self) -> str:
        """Unique among the run's.

        >>> About("disc").name, About("disc", "class:disc").name
        ('class disc', 'claim class:disc')
        """
        return f"class {self.class_name}" if self.claim_id is None else f"claim {self.claim_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept(Record):
    """A concept of a class or of a claim that stands; `concepts/`."""

    claim_id: str | None = column(_TEXT, "The claim whose heat off the object it lies under; null for a class.")
    class_name: str | None = column(_TEXT, "The class; null for a claim about all classes.", name="class")
    way: str = column(_TEXT, "How it was found: nmf, parts that only add up; pca, class-wise principal components.")
    place: int = column(_SMALL, "1 for the one that the class's logit loses most without.", least=1)
    worth: float = column(_DOUBLE, "Mean fall of the class's logit without it where the heat lies.")
    logit: float = column(_DOUBLE, "Mean logit of the class in the images that it was taken out of.")
    cosine: float | None = column(
        _DOUBLE,
        "Least cosine with the nearest concept of five other draws of the images; null where nothing is known of them: "
        "with fewer than five images, or where a draw is too small for as many concepts.",
        least=-1.0001,
        most=1.0001,
    )
    images: int = column(_WHOLE, "Images that were read.", least=1)
    error: float = column(_DOUBLE, "Share of what lies under the heat, by squares, that no concept accounts for.")
    patches: Mapping[str, Any] = column(
        _TEXT,
        "`targets`: [sample, slot, cell] of up to nine images where it and the heat are strong together. `maps`: how "
        "much of it is where in each, two hex digits a cell, row by row, ff at the most.",
        packed=True,
    )
    words: Mapping[str, Any] = column(
        _TEXT,
        "`nearest`: `word`, `score` and `margin` over chance of the nearest of a list; `by`: the network; `list`: a "
        "digest of the list. Empty where nobody named it.",
        packed=True,
    )

    @property
    def targets(self) -> list[Target]:
        """Sample, slot and cell of its patches."""
        return [(int(sample), int(slot), int(cell)) for sample, slot, cell in self.patches["targets"]]

    def maps(self, grid: tuple[int, int]) -> NDArray[np.float32]:
        """[m, h, w] how much of it is where in the images of its patches, 1 at the most."""
        cells = [np.frombuffer(bytes.fromhex(text), np.uint8) for text in self.patches["maps"]]
        return np.asarray(cells, np.float32).reshape(-1, *grid) / np.float32(255)

    @property
    def drawn(self) -> str:
        """Whether it comes back over draws of the images, in a few words."""
        if self.cosine is None:
            return "too few images to draw again"
        lost = self.cosine < ALIKE
        return f"lost in a draw: cosine {self.cosine:.2f}" if lost else f"cosine over draws: {self.cosine:.2f} or more"

    def said(self) -> str:
        """What it is worth, whether it comes back, and its words, in a sentence.

        >>> Concept(
        ...     claim_id=None, class_name="disc", way="nmf", place=1, worth=3.5, logit=6.5, cosine=0.981, images=100,
        ...     error=0.1, patches={}, words={"nearest": [{"word": "a logo", "score": 0.1, "margin": 0.02}]}).said()
        'Without concept 1 the logit falls by 3.50 of 6.50. Cosine over draws: 0.98 or more. Nearest word: a logo'
        """
        told = f"Without concept {self.place} the logit falls by {self.worth:.2f} of {self.logit:.2f}"
        words = [row["word"] for row in self.words.get("nearest", ()) if row["margin"] > 0]
        named = f". Nearest word: {', '.join(words)}" if words else ""
        return f"{told}. {self.drawn.capitalize()}{named}"


def hex_maps(maps: NDArray[np.floating]) -> list[str]:
    """Maps [m, h, w] of values 0 to 1 as a concept keeps them."""
    steps = np.rint(np.clip(maps, 0, 1) * 255).astype(np.uint8)
    return [each.tobytes().hex() for each in steps]


@dataclass(frozen=True)
class Kept:
    """The concepts of a class or claim as the run has them.

    Attributes:
        asked: how they were looked for.
        current: whether the images are still those that they were found in.
    """

    about: About
    asked: Mapping[str, Any]
    concepts: Sequence[Concept]
    current: bool = True


class Concepts:
    """Reads and writes the concepts of a run."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._folder = findings.run.path / layout.CONCEPTS

    def of(self, about: About) -> Kept | None:
        """Those of a class or claim; None where nobody looked for any.

        Raises:
            RunError: what was kept is damaged.
        """
        path = self._path(about)
        return self._read(path, about) if path.exists() else None

    def all(self) -> Iterator[Kept]:
        """Those of all classes, and of the claims that stand; without damaged ones, of which it warns.

        Raises:
            RunError: the findings are damaged.
        """
        classes, claims = map(About, self.findings.run.classes), self.findings.standing_claims()
        there = {path.name for path in self._folder.glob("*.json")}
        for about in (*classes, *map(About.claim, claims)):
            if self._path(about).name not in there:
                continue
            try:
                kept = self._read(self._path(about), about)
            except RunError as error:
                warnings.warn(f"Left out: {error}", RuntimeWarning, stacklevel=2)
            else:
                yield kept

    @property
    def some(self) -> bool:
        """Whether anybody looked for any."""
        return any(True for _ in self._folder.glob("*.json"))

    def write(self, about: About, asked: Mapping[str, Any], concepts: Sequence[Concept]) -> Kept:
        """Keep the concepts of a class or claim in the place of earlier ones."""
        record = {"made_from": self._made_from(about), "asked": dict(asked)}
        write_json(self._path(about), record | {"concepts": [concept.plain() for concept in concepts]})
        return Kept(about, asked, concepts)

    def _read(self, path: Location, about: About) -> Kept:
        again = f"again: `{command(self.findings.run, about)}`"
        record = read_json(path, again)
        try:
            concepts = [self._concept(row) for row in record["concepts"]]
            current = record["made_from"] == self._made_from(about)
            return Kept(about, dict(record["asked"]), concepts, current)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RunError(f"Expected {path} to hold concepts as this camaudit writes them; {again}") from None

    def _concept(self, row: Mapping[str, Any]) -> Concept:
        """A row of a file, which may be a stranger's."""
        concept = Concept(**{name: row[place.name] for name, place in Concept.columns().items()})
        height, width = self.findings.run.record["grid"]
        there = all(0 <= sample < self.findings.run.samples for sample, _, _ in concept.targets)
        if not there or len(concept.maps((height, width))) != len(concept.targets) or not concept.said():
            raise ValueError("Expected samples of the run, each with its map")
        return concept

    def _path(self, about: About) -> Location:
        return self._folder / f"{file_stem(about.name)}.json"

    def _made_from(self, about: About) -> dict[str, Any]:
        made = {"ledger": self._ledger, "unit": self.findings.rules().unit}
        return made if about.claim_id is None else made | {"findings": self._digest}

    @cached_property
    def _ledger(self) -> str:
        return self.findings.run.ledger.digest()

    @cached_property
    def _digest(self) -> str:
        """Of the findings that say which images are a claim's."""
        named = sorted(item for item in self.findings.made_from.artefacts.items() if item[0] not in _SPOKEN)
        return hashlib.sha256(repr(named).encode()).hexdigest()


def why_none(run: Run) -> str:
    """Why a run can have no concepts, as a sentence; empty where it can."""
    if set(run.record["config"]["roles"]) & set(GIVEN_ROLES):
        return "No concepts: they are of images as a whole, and this network was asked about boxes, regions or words."
    if run.encoding == "int8":
        return "No concepts: the maps are at the input's resolution, so no layer's cells lie under the heat."
    return ""


def command(run: Run, about: About | None = None, asked: Mapping[str, Any] = MappingProxyType({})) -> str:
    """What looks for concepts: of a class or claim, or of all claims that stand.

    Args:
        asked: `count`, `way` and `seed` of a search that is to be made again; empty for a first one.
    """
    path = shlex.quote(str(run.path))
    which = "" if about is None else f" --{'claim' if about.claim_id else 'class'} {shlex.quote(_named(about))}"
    options = {"concepts": asked.get("count", _COUNT)}
    options |= {name: asked[name] for name, usual in _USUAL.items() if asked.get(name, usual) != usual}
    told = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in options.items())
    return f"camaudit units {path}{which}{told}"


def _named(about: About) -> str:
    return about.claim_id or about.class_name or ""
