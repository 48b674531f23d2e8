"""Options that belong together, each group a class that becomes one record, and headings for them in `--help`."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_type_hints

import typer
from typer.core import TyperCommand

from audit.wording import shorten
from pipelines.cli.options.common import (
    Arch,
    Classes,
    DefaultOf,
    Device,
    Mode,
    Prompts,
    Size,
    Threshold,
    Weights,
    Workers,
    as_number,
    names,
    pairs,
    prompts_of,
    right_use,
    share,
    triple,
)
from pipelines.run.config import ClusterConfig, RunConfig

IMAGE = "image"
"""As --unit: images, as by default. No attribute can be named so."""

if TYPE_CHECKING:
    from audit.datasets.reach import Reach
    from audit.export import PseudoMasks
    from audit.findings import Rules
    from audit.models import ModelSpec
    from audit.store.label_store import LabelStore


@dataclass(frozen=True, kw_only=True)
class ModelDetailOptions:
    """How a model is taken, and how images go into it."""

    heading: ClassVar[str] = "Model"

    weights: Weights = None
    arch: Arch = None
    layer: Annotated[str | None, typer.Option(help="Target layer. [default: the last with a spatial output]")] = None
    mapping: Annotated[str | None, typer.Option(help="JSON or CSV from the data set's classes to the model's.")] = None
    classes: Classes = None
    prompts: Prompts = None
    size: Size = None
    mode: Mode = None
    resize: Annotated[int | None, typer.Option(help="For crop: length of the shorter side before.")] = None
    mean: Annotated[str | None, typer.Option(help="Normalisation, three numbers as 0.485,0.456,0.406")] = None
    std: Annotated[str | None, typer.Option(help="Normalisation, three numbers.")] = None
    activation: Annotated[
        str | None, typer.Option(help="softmax; sigmoid for a multi-label model; none: outputs as they are.")
    ] = None

    def given(self) -> list[str]:
        """Those that were given, as on the command line."""
        names = {"mode": "fit"}
        asked = [field.name for field in fields(ModelDetailOptions) if getattr(self, field.name) not in (None, [])]
        return [f"--{names.get(name, name)}" for name in asked]

    def of(self, model: str) -> ModelSpec:
        """A model so taken."""
        from audit.models import ModelSpec
        from audit.models.class_names import read_class_names

        values = {field.name: getattr(self, field.name) for field in fields(ModelDetailOptions)}
        classes = None if self.classes is None else read_class_names(self.classes)
        asked = {"classes": classes, "prompts": prompts_of(self.prompts)}
        return ModelSpec(model, **values | {"mean": triple(self.mean), "std": triple(self.std, 0)} | asked)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(ModelDetailOptions):
    """Which model, and how images go into it."""

    model: Annotated[
        str,
        typer.Option(help="torchvision:, timm:, hf: or clip:NAME, PATH.pt, module:function, FILE.py:function"),
    ]

    def spec(self) -> ModelSpec:
        """The model that they name."""
        return self.of(self.model)


@dataclass(frozen=True, kw_only=True)
class AttributionOptions:
    """How maps are made: what decides a run's results, beside model and manifest."""

    heading: ClassVar[str] = "Attribution"

    method: Annotated[
        str | None,
        typer.Option(help="See camaudit methods. [default: gradcam; of a detector hirescam]"),
    ] = RunConfig.method
    option: Annotated[
        list[str] | None, typer.Option(help="Of the method, as samples=8; may be given several times.")
    ] = None
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = RunConfig.precision
    targets: Annotated[
        str,
        typer.Option(
            help="Any of label,predicted,runner_up; of a detector: detected; of a network that segments: segmented."
        ),
    ] = ",".join(RunConfig.roles)
    detections: Annotated[
        int, typer.Option(help="Boxes of a detector, or regions, of an image that are explained.")
    ] = RunConfig.detections
    batch_size: Annotated[int, typer.Option(help="Images a forward pass.")] = RunConfig.batch_size
    shard_size: Annotated[
        int | None, typer.Option(help="Samples a shard, the unit of work and of resume. [default: by number and cost]")
    ] = RunConfig.shard_size
    score: Annotated[bool, typer.Option(help="Score maps against masks.")] = RunConfig.scored
    quick_check: Annotated[
        bool, typer.Option(help="Ask the model again about what is flagged, and ask about as much that is not.")
    ] = RunConfig.quick_check

    jpeg_decoder: Annotated[
        str, typer.Option(help="pillow, or nvjpeg: by the GPU, whose pixels are some levels from Pillow's.")
    ] = RunConfig.jpeg_decoder

    def config(self) -> RunConfig:
        """What they ask of a run."""
        with right_use():
            return RunConfig(
                self.method,
                pairs(self.option or []),
                self.precision,
                names(self.targets),
                self.batch_size,
                self.shard_size,
                scored=self.score,
                quick_check=self.quick_check,
                detections=self.detections,
                jpeg_decoder=self.jpeg_decoder,
            )


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where a verb computes: processes of this machine, or the workers of a scheduler."""

    heading: ClassVar[str] = "Cluster"

    workers: Workers = ClusterConfig.workers
    memory: Annotated[str | None, typer.Option(help="Memory limit of a local worker, as 4GB.")] = ClusterConfig.memory
    scheduler: Annotated[str | None, typer.Option(help="Address of an existing Dask scheduler.")] = (
        ClusterConfig.scheduler
    )
    scheduler_file: Annotated[str | None, typer.Option(help="Connection file of an existing scheduler.")] = (
        ClusterConfig.scheduler_file
    )
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for workers, at the start and where all are lost.")
    ] = ClusterConfig.wait_s
    min_workers: Annotated[
        int, typer.Option(min=1, help="Of an existing scheduler that have to be there before work begins.")
    ] = ClusterConfig.min_workers

    def config(self) -> ClusterConfig:
        """The cluster that they name."""
        with right_use():
            return ClusterConfig(**{field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class RunClusterOptions(ClusterOptions):
    """Where a run is computed, and how its workers use the network."""

    threads: Annotated[int, typer.Option(help="torch threads a worker.")] = ClusterConfig.threads
    compiling: Annotated[str, typer.Option("--compile", help="always, never, or auto: where a long run repays it.")] = (
        ClusterConfig.compiling
    )
    device: Device = ClusterConfig.device
    scorers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that score beside a worker. [default: none on a CPU, up to 4 on a GPU]"),
    ] = ClusterConfig.scorers


@dataclass(frozen=True, kw_only=True)
class ReachOptions:
    """Which images and masks are read to show a run, which may be a stranger's."""

    heading: ClassVar[str] = "Images"

    root: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of the images, where they have moved."),
    ] = None
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Read files outside the manifest's root too.")
    ] = False
    remote: Annotated[bool, typer.Option("--remote", help="Read images behind URLs too.")] = False

    def reach(self) -> Reach:
        """What they open."""
        from audit.datasets.reach import Reach

        root = None if self.root is None else os.path.abspath(self.root)
        return Reach(root, self.allow_outside, self.remote)


_RULES = "audit.findings:Rules"


@dataclass(frozen=True, kw_only=True)
class FindingsOptions:
    """What counts as a finding."""

    heading: ClassVar[str] = "Findings"

    fdr: Annotated[
        float, typer.Option(default_factory=DefaultOf(_RULES, "fdr"), help="False discovery rate of findings.")
    ]
    confident: Annotated[
        float,
        typer.Option(
            default_factory=DefaultOf(_RULES, "confident"),
            help="Probability from which a class counts as named with confidence.",
        ),
    ]
    misplaced: Annotated[
        float,
        typer.Option(
            default_factory=DefaultOf(_RULES, "misplaced"),
            help="Misplacement (chance times what is missing to the best place) that makes a finding.",
        ),
    ]
    tolerated: Annotated[
        float,
        typer.Option(
            default_factory=DefaultOf(_RULES, "tolerated"),
            help="Share of a class's targets that may look off the object, however few it is in other classes.",
        ),
    ]
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="ATTRIBUTE",
            help="Attribute of the manifest (patient, camera, video, burst) whose images count as one witness. "
            "[default: an image with its near-copies]",
        ),
    ] = None
    threshold: Threshold = None

    def rules(self) -> Rules:
        """The rules that they set."""
        from audit.findings import Rules

        with right_use():
            return Rules(
                self.fdr, self.confident, self.misplaced, self.tolerated, None if self.unit == IMAGE else self.unit
            )


@dataclass(frozen=True, kw_only=True)
class LabelSetOptions:
    """Which masks of a label set are written, and how they are cut."""

    heading: ClassVar[str] = "Label set"

    labels: Annotated[
        str | None, typer.Option(help="Label set that `camaudit labels` made. [default: the run's maps as they are]")
    ] = None
    threshold_from: Annotated[
        str | None,
        typer.Option(metavar="RUN[:NAME]", help="Label set of other samples, with masks: its best threshold is taken."),
    ] = None
    by_class: Annotated[bool, typer.Option("--by-class", help="From there, one a class.")] = False
    band: Annotated[
        float, typer.Option(min=0, max=1, help="Width of the band around the threshold where pixels are 255.")
    ] = 0.0
    keep: Annotated[float, typer.Option(help="Share of masks to believe, most trusted first; others are 255.")] = 1.0
    without_findings: Annotated[
        bool, typer.Option("--without-findings", help="Masks of targets that are findings are 255.")
    ] = False

    def masks(self, threshold: str | None, roles: tuple[str, ...]) -> PseudoMasks:
        """The label images that they ask for."""
        from audit.export import PseudoMasks

        with right_use():
            cut = threshold if threshold is None or threshold == "otsu" else share(as_number(threshold))
            beside = self._chosen_on() if self.threshold_from else None
            kept = (self.by_class, self.band, self.keep, self.without_findings)
            return PseudoMasks(cut, roles, self.labels, beside, *kept)

    def _chosen_on(self) -> LabelStore:
        """The label set that --threshold-from names; of the same name as the one to write if it names none."""
        from audit.store import Run
        from audit.store.label_store import LabelStore, run_and_name

        run, name = run_and_name(str(self.threshold_from))
        return LabelStore.open(Run.open(run), name or self.labels or "labels")


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameters that are groups are given as the options of the groups."""
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(verb)
    def call(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        verb(**values)

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(verb).parameters.values():
        kind = hints[parameter.name]
        parameters += _parameters(kind) if is_dataclass(kind) else [_keyword(parameter.replace(annotation=kind))]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def _parameters(group: Any) -> list[inspect.Parameter]:
    """A group's options as parameters, the required ones first, each with the group's heading."""
    hints = get_type_hints(group, include_extras=True)
    ordered = sorted(fields(group), key=lambda field: field.default is not MISSING)
    return [_parameter(field, hints[field.name], group.heading) for field in ordered]


def _parameter(field: Field[Any], hint: Any, heading: str) -> inspect.Parameter:
    kind, option = hint.__origin__, copy(hint.__metadata__[0])
    option.rich_help_panel = heading
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


_URL = re.compile("([a-z0-9]{2,}):/(.*)")  # as a path has it, whose slashes are single


def on_this_machine(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb that refuses URLs for its paths; what may lie in a bucket is text to it, not a path."""

    @wraps(verb)
    def call(**values: Any) -> None:
        for name, value in values.items():
            if isinstance(value, Path) and (url := _URL.match(str(value))):
                advice = "write it here, then copy it there" if name in ("out", "folder") else "copy it here first"
                got = shorten(f"{url[1]}://{url[2]}")
                raise typer.BadParameter(f"Expected a path of this machine as {name}, got {got}; {advice}")
        verb(**values)

    return call


class Verb(TyperCommand):
    """A command whose help has a section for each group of options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options of no group, then each group's."""
        sections: dict[str, list[Any]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            line = parameter.get_help_record(ctx)
            if line is not None:
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(line)
        for heading, lines in sections.items():
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)
