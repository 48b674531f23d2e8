"""Options of the verbs that train networks, as groups that become one record each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from pipelines.asked import Distillation, Training
from pipelines.cli.options.common import Device, right_use

if TYPE_CHECKING:
    from audit.datasets import Manifest

Epochs = Annotated[int, typer.Option(min=1, help="Passes over the samples.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images a step.")]
Augment = Annotated[
    str, typer.Option(help="none, mirror, or full: scaled, cropped, mirrored, and light and contrast changed.")
]
Patience = Annotated[
    int | None,
    typer.Option(min=1, help="Stop after so many epochs without a better one; keep the best. [default: the last]"),
]
Threads = Annotated[int | None, typer.Option(min=1, help="torch threads. [default: every core]")]


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """How a network learns, and on what it is measured meanwhile."""

    heading: ClassVar[str] = "Training"

    epochs: Epochs
    batch_size: BatchSize
    augment: Augment
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = Training.seed
    validate: Annotated[
        str | None, typer.Option(metavar="MANIFEST", help="Samples to measure on after each epoch.")
    ] = None
    patience: Patience = None
    device: Device = Training.device
    threads: Threads = None

    def validation(self) -> Manifest | None:
        """The samples of --validate."""
        return None if self.validate is None else opened(self.validate)

    def prepare(self) -> None:
        """Refuse what cannot be; use as many threads as asked.

        Raises:
            typer.BadParameter: an augmentation that is not known; patience without anything measured.
        """
        from audit.models.training.augmentation import check_augmentation

        with right_use():
            check_augmentation(self.augment)
        if self.patience is not None and not self._measured():
            raise typer.BadParameter(f"Expected {self._measures} beside --patience, to know which epoch is best")
        from audit.models.execution import use_threads

        use_threads(self.threads)

    _measures: ClassVar[str] = "--validate"

    def _measured(self) -> bool:
        return self.validate is not None

    def _values(self, record: type) -> dict[str, Any]:
        """What the options say of a record's fields."""
        return {field.name: getattr(self, field.name) for field in fields(record) if hasattr(self, field.name)}


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(LearningOptions):
    """How a classifier learns."""

    epochs: Epochs = Training.epochs
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = Training.learning_rate
    batch_size: BatchSize = Training.batch_size
    augment: Augment = Training.augment
    weights: Annotated[
        str | None, typer.Option(help="State dict or checkpoint to start from; its head may have other classes.")
    ] = Training.weights
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Draw images of rare classes about as often as those of frequent ones.")
    ] = Training.balanced
    hold_out: Annotated[
        float, typer.Option(help="Share of the samples to measure on instead of learning from them.")
    ] = Training.hold_out

    _measures: ClassVar[str] = "--hold-out or --validate"

    def training(self, arch: str, size: int) -> Training:
        """The training that they ask for, of inputs `size` pixels wide and high."""
        if self.validate is not None and self.hold_out:
            raise typer.BadParameter("Expected --hold-out or --validate, got both; leave one out")
        self.prepare()
        from pipelines.training.train import default_preprocessing

        with right_use():
            return Training(arch, default_preprocessing(size), **self._values(Training))

    def _measured(self) -> bool:
        return self.validate is not None or self.hold_out > 0


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions(LearningOptions):
    """How a segmentation network learns, and from which of the labels."""

    size: Annotated[int, typer.Option(min=16, help="Longer side of the input, pixels.")] = Distillation.size
    epochs: Epochs = Distillation.epochs
    learning_rate: Annotated[float, typer.Option(help="The first; it falls to 0.")] = Distillation.learning_rate
    batch_size: BatchSize = Distillation.batch_size
    augment: Augment = Distillation.augment
    weights: Annotated[str | None, typer.Option(help="Checkpoint or state dict of the same network to start from.")] = (
        Distillation.weights
    )
    backbone_weights: Annotated[
        str | None, typer.Option(help="The same of the classifier below the network, as camaudit train wrote it.")
    ] = Distillation.backbone_weights
    confidence: Annotated[
        Path | None, typer.Option(dir_okay=False, help="CSV file with the columns id and confidence, 0..1.")
    ] = None
    keep: Annotated[float, typer.Option(help="Share of the samples to learn from, the most confident.")] = (
        Distillation.keep
    )
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Let a sample's pixels count as much as its confidence.")
    ] = Distillation.weighted

    def distillation(self, arch: str) -> Distillation:
        """The training that they ask for."""
        if self.confidence is None and (self.keep < 1 or self.weighted):
            raise typer.BadParameter(
                "Expected --confidence beside --keep and --weighted, to know how sure the labels are"
            )
        self.prepare()
        with right_use():
            return Distillation(arch, **self._values(Distillation))


def opened(place: str) -> Manifest:
    """The manifest at a path or URL."""
    from audit.datasets import Manifest
    from audit.store.storage.objects import location

    return Manifest.open(location(place))
