"""What a run is told: what decides its results, and where it is computed.

Checks that need the methods import them when a record is made, so that the command line shows defaults without torch.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from audit.errors import RunError
from audit.images import MAX_PIXELS
from pipelines.run.cores import usable_cores

if TYPE_CHECKING:
    from audit.store import Run

COMPILING = ("auto", "always", "never")
"""`auto`: where a trial shows that it repays; see `pipelines.run.speed`."""
DEVICES = ("auto", "cpu", "cuda")
JPEG_DECODERS = ("pillow", "nvjpeg")
"""`nvjpeg`: by the GPU; see `audit.models.nvjpeg`."""
USUAL_METHOD = "gradcam"
_LOCAL_PATIENCE_S = 60.0
_SHARD_PASSES = 4096
_SHARD_VALUES = 2**25
_FEWEST_SHARDS = 32
_SMALLEST = 32
_MEMORY = re.compile(r"[1-9][0-9]*(\.[0-9]+)? ?[kMGT]i?B")


@dataclass(frozen=True)
class RunConfig:
    """What decides a run's results, beside model and manifest; it may not change on resume.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        method: name of the attribution method, see `audit.attribution.make_method`; None for `USUAL_METHOD`, or
            what a network that is aimed has, see `audit.models.aimed.kind`.
        options: its options, as pairs.
        precision: of the network; see `audit.models.Execution`.
        roles: targets of each sample; of a detector `detected` alone.
        jpeg_decoder: one of `JPEG_DECODERS`; what is no plain JPEG, or refused, is decoded by Pillow all the same.
        detections: of an image, a detector's surest boxes, or the largest regions, that are explained.
        batch_size: images a forward pass.
        shard_size: samples a shard; None for what the run has, or for a new one what suits its number and cost.
        max_pixels: size limit of an image, pixels.
        scored: whether maps are scored against masks.
        quick_check: whether flagged targets, and some others, are asked again without their background.
    """

    method: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    precision: str = "float32"
    roles: tuple[str, ...] = ("label", "predicted")
    batch_size: int = 16
    shard_size: int | None = None
    max_pixels: int = MAX_PIXELS
    scored: bool = True
    quick_check: bool = True
    detections: int = 10
    jpeg_decoder: str = "pillow"

    def __post_init__(self) -> None:
        from audit.attribution import check_method
        from audit.models import Execution

        check_method(self.method or USUAL_METHOD, dict(self.options))
        Execution(self.precision)
        known_roles(self.roles)
        if self.jpeg_decoder not in JPEG_DECODERS:
            known = ", ".join(JPEG_DECODERS)
            raise ValueError(f"Expected --jpeg-decoder to be one of {known}, got {self.jpeg_decoder!r}")
        for name in ("batch_size", "shard_size", "max_pixels", "detections"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Expected --{name.replace('_', '-')} of at least 1, got {value}")

    def record(self) -> dict[str, Any]:
        """As run.json keeps it."""
        kept = asdict(self) | {"roles": list(self.roles), "options": dict(self.options)}
        if self.jpeg_decoder == RunConfig.jpeg_decoder:  # so do runs of before there was another
            del kept["jpeg_decoder"]
        return kept


def known_roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    """The roles, if there are any and all are known.

    Raises:
        ValueError: they are not.
    """
    from audit.attribution.targets import GIVEN, ROLES, WORD

    unknown = set(roles) - set(ROLES)
    if unknown or not roles:
        raise ValueError(f"Expected targets among {', '.join(ROLES)}, got {', '.join(sorted(unknown)) or 'none'!r}")
    alone = (*GIVEN, WORD)
    if set(roles) & set(alone) and len(roles) > 1:
        raise ValueError(f"Expected one of the targets {', '.join(alone)} alone, got {', '.join(roles)}")
    return roles


def mapped_roles(run: Run, roles: tuple[str, ...]) -> tuple[str, ...]:
    """The roles, if the run has maps of one of them: one without labels has none of the role `label`.

    Raises:
        RunError: it has not.
    """
    mapped = run.record["config"]["roles"]
    if not set(roles) & set(mapped):
        raise RunError(
            f"{run.path} has maps of {', '.join(mapped)}, none of {', '.join(roles)}; pass --roles {mapped[0]}"
        )
    return roles


def default_shard_size(samples: int, passes: int, map_values: int) -> int:
    """Samples a shard: few enough for every worker to have its share, many enough for a task to be worth its while.

    How long a sample takes is not known before the run. Who audits more has more to compute it with, so both the size
    of shards and their number grow, with the square root of the samples: 10,000 make 40 shards of 256, and a million
    391 of 2,560, which is about a minute of a core at 40 images a second. From 2.56 million on they are of 4,096.

    Args:
        samples: of the run.
        passes: through the network that one sample takes. A shard takes 4,096 at most: two minutes of a core that does
            40 a second, to wait for and to lose.
        map_values: of one sample's maps; a worker holds those of a shard, 2^25 at most.
    """
    most = min(_SHARD_PASSES // max(passes, 1), _SHARD_VALUES // max(map_values, 1))
    suited = min(-(-samples // _FEWEST_SHARDS), round(2.56 * math.sqrt(samples)))
    return max(min(max(suited, _SMALLEST), most), 1)


@dataclass(frozen=True)
class ClusterConfig:
    """Where a run is computed; it may differ at every resume.

    Raises:
        ValueError: a value that cannot be.

    Attributes:
        workers: processes of a local cluster; one a core if None.
        threads: torch threads a worker.
        device: where networks run, `auto`, `cpu` or `cuda`; `auto` is a GPU where a worker sees one.
        scorers: processes that score beside a worker; None for what its device wants, see `shards.scorers`.
        compiling: whether workers compile the network, one of `COMPILING`.
        memory: memory limit of a local worker, as `4GB`; the machine's memory shared out if None.
        scheduler: address of an existing scheduler.
        scheduler_file: its connection file.
        timeout_s: how long to wait for the answer of an existing scheduler.
        wait_s: how long to wait for workers, at the start and where all are lost.
        min_workers: of an existing scheduler that have to be there before the first work is given out.
    """

    workers: int | None = None
    threads: int = 1
    compiling: str = "auto"
    device: str = "auto"
    scorers: int | None = None
    memory: str | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    timeout_s: float = 30.0
    wait_s: float = 600.0
    min_workers: int = 1

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "min_workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Expected --{name.replace('_', '-')} of at least 1, got {value}")
        if self.scorers is not None and self.scorers < 0:
            raise ValueError(f"Expected --scorers of at least 0, got {self.scorers}")
        if self.min_workers > 1 and self.is_local:
            raise ValueError("Expected --scheduler or --scheduler-file beside --min-workers; --workers are started")
        if self.compiling not in COMPILING:
            raise ValueError(f"Expected --compile to be one of {', '.join(COMPILING)}, got {self.compiling!r}")
        if self.device not in DEVICES:
            raise ValueError(f"Expected --device to be one of {', '.join(DEVICES)}, got {self.device!r}")
        if self.memory is not None and not _MEMORY.fullmatch(self.memory):
            raise ValueError(f"Expected --memory as 4GB or 500MiB, got {self.memory!r}")
        if not self.wait_s >= 0:
            raise ValueError(f"Expected --wait of 0 seconds or more, got {self.wait_s}")

    @property
    def is_local(self) -> bool:
        """Whether the workers are processes of this machine that the run itself starts."""
        return self.scheduler is None and self.scheduler_file is None

    @property
    def patience(self) -> float:
        """Seconds to wait while no worker takes work: those of a local cluster come back soon or never."""
        return min(self.wait_s, _LOCAL_PATIENCE_S) if self.is_local else self.wait_s

    @property
    def is_asked(self) -> bool:
        """Whether workers were asked for, where a verb else computes in its own process."""
        return not self.is_local or self.workers is not None

    @property
    def local_workers(self) -> int:
        """Processes of a local cluster."""
        return self.workers or usable_cores()

    @property
    def local_shards(self) -> int:
        """Shards that a local worker has in hand at once: several keep a GPU busy while others are read and scored."""
        return max(usable_cores() // self.local_workers, 1) if self.device == "cuda" else 1
