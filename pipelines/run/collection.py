"""What is audited: a manifest, or a plain folder, which is indexed on the way. Where neither names classes, the model
does."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from audit.datasets import ManifestFile, list_folder
from audit.datasets.classes import preview
from audit.datasets.manifest_file import most_labels
from audit.errors import RunError, UnmappedError
from audit.images.locations import is_url
from audit.models import Classifier, ModelSpec, load_classifier
from audit.models.aimed.detectors import Detector
from audit.models.aimed.kind import Aimed
from audit.models.aimed.regions import RegionClassifier
from audit.models.aimed.words import WordClassifier
from audit.progress import Noted, Progress, silent
from audit.store import Run, layout
from audit.store.storage.objects import Location, Place
from audit.wording import number
from pipelines.run.config import USUAL_METHOD, RunConfig
from pipelines.run.folders import check_folder, is_folder

TEXT = "text"
"""Attribute that holds an image's text, for networks that read one."""
AIMED: dict[str, type[Aimed]] = {kind.role: kind for kind in (Detector, RegionClassifier, WordClassifier)}
"""Networks by the role of their targets."""
UNLABELLED_ROLES = ("predicted", "runner_up")
"""Targets where no sample has a label, unless others are asked for."""


def suit_aimed(config: RunConfig, classifier: Aimed) -> RunConfig:
    """The configuration of a run of a detector, or of a network that segments.

    Raises:
        RunError: it asks for what such a network has not.
    """
    role, kind = classifier.role, classifier.kind
    if config.roles not in (RunConfig.roles, (role,)):
        raise RunError(f"Expected --targets {role} for {kind}, got {','.join(config.roles)}")
    if config.precision != "float32":
        raise RunError(f"Expected --precision float32 for {kind}, whose answers need it, got {config.precision}")
    return replace(config, roles=(role,), method=config.method or classifier.method)


@dataclass(frozen=True)
class Collection:
    """A manifest's head, what is known of its samples, and a classifier that answers for its classes.

    Attributes:
        path: as it was named.
        manifest: of which no row is held; that of a folder lies aside until the collection is closed.
        most_labels: of any sample.
    """

    path: Location
    manifest: ManifestFile
    most_labels: int
    classifier: Classifier

    def suited(self, config: RunConfig) -> RunConfig:
        """The configuration, with the targets of a detector, or of a collection without labels, instead of the usual.

        Raises:
            RunError: a detector's boxes are asked of a classifier, or anything else of a detector.
        """
        if isinstance(self.classifier, Aimed):
            self._check_texts()
            return suit_aimed(config, self.classifier)
        role = config.roles[0]
        if role in AIMED:
            raise RunError(f"Expected {AIMED[role].kind} for --targets {role}, got a classifier; leave --targets out")
        config = replace(config, method=config.method or USUAL_METHOD)
        unlabelled = not self.most_labels and config.roles == RunConfig.roles
        return replace(config, roles=UNLABELLED_ROLES) if unlabelled else config

    def _check_texts(self) -> None:
        if isinstance(self.classifier, WordClassifier) and TEXT not in self.manifest.attributes:
            raise RunError(f"Expected a column {TEXT!r} in {self.path} for a network of images and texts, found none")


@contextmanager
def open_collection(path: Location, out: Place, spec: ModelSpec, progress: Progress = silent) -> Iterator[Collection]:
    """Open a manifest or index a folder, and load the classifier.

    Args:
        out: directory of the run, which may not lie in the folder.

    Raises:
        ManifestError: there is no manifest, or the folder cannot be indexed.
        ModelError: see `load_classifier`.
    """
    with tempfile.TemporaryDirectory(prefix="camaudit-") as aside:
        if is_folder(path):
            check_folder(path, out)
            yield _of_folder(path, Path(aside) / layout.MANIFEST, spec, progress)
        else:
            yield _of_manifest(path, spec, progress)


def _of_manifest(path: Location, spec: ModelSpec, progress: Progress) -> Collection:
    manifest = ManifestFile.open(path)
    classifier = _load(spec, manifest.classes, progress)
    named = manifest if manifest.classes else manifest.named(classifier.classes)
    return Collection(path, named, most_labels(named.tables(["labels"])), classifier)


def _of_folder(path: Path, aside: Path, spec: ModelSpec, progress: Progress) -> Collection:
    manifest, strangers = list_folder(path, progress=progress).save(aside), tuple[str, ...]()
    try:
        classifier = _load(spec, manifest.classes, progress)
    except UnmappedError:
        strangers, manifest = manifest.classes, list_folder(path, classes=(), progress=progress).save(aside)
        classifier = load_classifier(spec)
    named = manifest if manifest.classes else manifest.named(classifier.classes)
    labels = most_labels(named.tables(["labels"]))
    progress(Noted(_taken(path, named, labels, strangers, spec)))
    return Collection(path, named, labels, classifier)


def _load(spec: ModelSpec, classes: tuple[str, ...], progress: Progress) -> Classifier:
    progress(Noted(f"loading {spec.model}"))
    return load_classifier(spec, classes=classes or None)


def refuse_changed(run: Run, collection: Collection, progress: Progress = silent) -> None:
    """Refuse a folder that has not the images that the run began with; tell of those written since.

    Raises:
        RunError: images have come or gone.
    """
    if not is_folder(collection.path):
        return
    kept = run.manifest_file
    if kept.fingerprint == collection.manifest.fingerprint:
        rewritten = _written_since(run)
        if rewritten:
            since = f"images of {collection.path} that were written since the run began: {number(rewritten)}"
            progress(Noted(f"{since}; those that are audited stay as they were"))
        return
    before, now = (_ids(manifest) for manifest in (kept, collection.manifest))
    changes = [_some(now - before, "came"), _some(before - now, "went")]
    if before == now:
        return  # the classes differ, or the labels; that is told as any other difference
    raise RunError(
        f"{collection.path} has changed since {run.path} began: {' and '.join(filter(None, changes))}; audit it as it "
        "is now with another --out or --set-aside, or go on with the images it began with: name "
        f"{run.path / layout.MANIFEST} instead of the folder"
    )


def _taken(path: Path, manifest: ManifestFile, labels: int, strangers: tuple[str, ...], spec: ModelSpec) -> str:
    """What was taken from a folder, in a line."""
    images = f"{path}: {number(len(manifest))} images"
    if labels:
        return f"{images} in {len(manifest.classes)} class folders ({preview(manifest.classes)}); no masks"
    why = f", for none of its folders is a class of the model ({preview(strangers)})" if strangers else ""
    named = "named by --classes" if spec.classes else "as the model names them"
    if manifest.classes[:1] == ("class 0",):
        named = "which have no names; give them with --classes FILE"
    return f"{images} without labels{why}; no masks; {len(manifest.classes)} classes, {named}"


def _ids(manifest: ManifestFile) -> set[str]:
    return {name for table in manifest.tables(["id"]) for name in table["id"].to_pylist()}


def _some(ids: set[str], how: str) -> str:
    return f"{number(len(ids))} {how} ({preview(sorted(ids), 3)})" if ids else ""


def _written_since(run: Run) -> int:
    """Images whose file is younger than the run, whose moment is told in whole seconds."""
    began = datetime.fromisoformat(run.record["created"]).timestamp() + 1
    samples = (sample for shard in run.shards for sample in run.manifest(shard.start, shard.stop))
    return sum(_mtime(sample.image) > began for sample in samples if not is_url(sample.image))


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
