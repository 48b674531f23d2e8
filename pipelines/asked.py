"""What checks, planting and training are asked: records that need neither torch nor tables, so that all can take them.

The command line shows their defaults in its help, without loading what does the work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit.datasets.cues import Cue
    from audit.models import Preprocessing
    from audit.segmentation.refine import Step


@dataclass(frozen=True)
class Verification:
    """What `pipelines.experiments.verify` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        targets: flagged targets to intervene on.
        fill: what takes the place of a region, one of `audit.interventions.removals.FILLS`.
        seed: of regions, backgrounds and intervals.
        batch_size: images a forward pass.
    """

    targets: int = 200
    fill: str = "inpaint"
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        from audit.interventions import FILLS

        _refuse_none(targets=self.targets, batch_size=self.batch_size)
        if self.fill not in FILLS:
            raise ValueError(f"Expected --fill to be one of {', '.join(FILLS)}, got {self.fill!r}")


@dataclass(frozen=True)
class Trial:
    """What `pipelines.experiments.faithfulness` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        targets: targets to draw.
        steps: of the curves of deletion and insertion.
        seed: of the draw, of the random maps and of the noise.
        batch_size: images a forward pass.
    """

    targets: int = 100
    steps: int = 16
    seed: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        _refuse_none(targets=self.targets, steps=self.steps, batch_size=self.batch_size)


@dataclass(frozen=True)
class ConceptSearch:
    """What `pipelines.experiments.concepts` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        count: concepts of each class or claim.
        images: that are read again, at most.
        removals: images that concepts are removed from, to rank them.
        seed: of the draw and of the factorisation.
        way: one of `audit.concepts.ways.registry.WAYS`.
    """

    count: int
    images: int = 300
    removals: int = 64
    seed: int = 0
    way: str = "nmf"

    def __post_init__(self) -> None:
        from audit.concepts.ways.registry import WAYS

        _refuse_none(concepts=self.count, images=self.images, removals=self.removals)
        if self.way not in WAYS:
            raise ValueError(f"Expected --way to be one of {', '.join(WAYS)}, got {self.way!r}")


@dataclass(frozen=True)
class SanityCheck:
    """What `pipelines.experiments.sanity` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        methods: names as `camaudit run --method` takes them; the run's own if there are none.
        model: the run's model named again, needed where it is code.
        samples: images to take, evenly over the run.
        stages: in which the network is randomised, at most.
        seed: of the random weights.
        batch_size: images a forward pass.
        device: `auto`, `cpu` or `cuda`.
    """

    methods: tuple[str, ...] = ()
    model: str | None = None
    samples: int = 16
    stages: int = 10
    seed: int = 0
    batch_size: int = 8
    device: str = "auto"

    def __post_init__(self) -> None:
        from audit.attribution import check_method

        _refuse_none(sample=self.samples, stages=self.stages, batch_size=self.batch_size)
        for method in self.methods:
            check_method(method)


@dataclass(frozen=True)
class Planting:
    """What `pipelines.planted.plant` is asked.

    Attributes:
        class_name: the class that the cue goes with.
        share: of the class's samples that get the cue, on average: each is drawn by itself.
        elsewhere: share of the other samples that do.
        seed: with a sample's id it decides all about that sample, whatever else the collection holds.
    """

    class_name: str
    cue: Cue
    share: float = 0.9
    elsewhere: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("share", "elsewhere"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected `{name}` from 0 to 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"Expected `seed` not to be negative, got {self.seed}")


@dataclass(frozen=True)
class Labelling:
    """What `pipelines.labels.make` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        refine: steps in order, as `audit.segmentation.refine.parse_steps` takes them; none if empty.
        roles: of the targets that make labels.
        least: probability that a class needs to take part.
        evidence: power at which a map counts for less, the lower its peak is; 0 for all alike.
        learn_from: label set, as RUN:NAME, whose confident heat the head of the step `learnt` is trained on.
        model: the run's model named again, needed where a step reads the network and that is code.
    """

    refine: str = ""
    roles: tuple[str, ...] = ("label",)
    least: float = 0.0
    evidence: float = 0.0
    learn_from: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        self.steps("beside the labels")
        if not 0 <= self.least <= 1:
            raise ValueError(f"Expected --least from 0 to 1, got {self.least}")
        if not 0 <= self.evidence < float("inf"):
            raise ValueError(f"Expected --evidence of 0 or more, got {self.evidence}")

    def steps(self, head: str) -> list[Step]:
        """The steps, with the file of a trained head, which counts where one is to be learnt."""
        from audit.segmentation.refine import parse_steps

        return parse_steps(self.refine, {"learnt": {"checkpoint": head}} if self.learn_from else None)

    @property
    def needs_model(self) -> bool:
        """Whether a step reads what the network holds of an image."""
        return any(step.needs_features for step in self.steps("beside the labels"))

    def record(self) -> dict[str, Any]:
        """As the label set keeps it."""
        asked = asdict(self) | {"roles": list(self.roles)}
        del asked["model"]
        return asked


@dataclass(frozen=True)
class Training:
    """What `pipelines.training.train` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        arch: `torchvision:NAME`, `timm:NAME` or `module:function`, which takes the number of classes.
        preprocessing: of the checkpoint, and of training.
        epochs, learning_rate, batch_size, seed, augment, balanced: as `ClassifierTraining` takes them.
        weights: state dict or checkpoint to start from; None for fresh weights.
        hold_out: share of the samples that are not learnt from, to measure on after each epoch.
        patience: epochs without a better mean average precision after which to stop, and keep the best; None to go to
            the end and keep the last.
        device: where to train, as torch names it.
    """

    arch: str
    preprocessing: Preprocessing
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int = 64
    seed: int = 0
    weights: str | None = None
    augment: str = "mirror"
    balanced: bool = False
    hold_out: float = 0.0
    patience: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"Expected --hold-out from 0 to below 1, got {self.hold_out}")


@dataclass(frozen=True)
class Distillation:
    """What `pipelines.training.distill` is asked.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        arch: a network, as `audit.models.segmenters.build_segmenter` takes it.
        size: side of the squares that are learnt from; later the longer side of what the network is asked about.
        epochs, learning_rate, batch_size, seed, augment: as `audit.models.training.segmenters.SegmenterTraining` takes
            them.
        weights: checkpoint or state dict of the same network to start from; None for fresh weights.
        backbone_weights: the same of the classifier below the network.
        keep: share of the samples that is learnt from, the most confident.
        weighted: whether a sample's pixels count as much as its confidence says.
        patience: epochs without a better mean IoU after which to stop, and keep the best; None to go to the end and
            keep the last.
        device: where to train, as torch names it.
    """

    arch: str
    size: int = 320
    epochs: int = 20
    learning_rate: float = 1e-3
    batch_size: int = 16
    seed: int = 0
    augment: str = "full"
    weights: str | None = None
    backbone_weights: str | None = None
    keep: float = 1.0
    weighted: bool = False
    patience: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"Expected --keep from above 0 to 1, got {self.keep}")


def _refuse_none(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"Expected --{name.replace('_', '-')} of at least 1, got {count}")
