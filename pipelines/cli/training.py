"""Verbs that train networks and ask them for masks: train, distill, segment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.asked import Distillation, Training
from pipelines.cli.options import Device, Json, ManifestPath, right_use, share
from pipelines.cli.printing import print_distilled, print_json, print_segmented, print_trained
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.datasets import Manifest

Epochs = Annotated[int, typer.Option(min=1, help="Passes over the samples.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images a step.")]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")]
Augment = Annotated[
    str, typer.Option(help="none, mirror, or full: scaled, cropped, mirrored, and light and contrast changed.")
]
Validate = Annotated[
    Path | None, typer.Option(metavar="MANIFEST", help="Samples to measure on after each epoch.", dir_okay=False)
]
Patience = Annotated[
    int | None,
    typer.Option(min=1, help="Stop after so many epochs without a better one; keep the best. [default: the last]"),
]
Threads = Annotated[int | None, typer.Option(min=1, help="torch threads. [default: every core]")]


def train(
    manifest: ManifestPath,
    model: Annotated[str, typer.Option(help="torchvision:NAME, timm:NAME or module:function of a class count")],
    out: Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="Checkpoint to write.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the input, pixels.")] = 224,
    epochs: Epochs = Training.epochs,
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = Training.learning_rate,
    batch_size: BatchSize = Training.batch_size,
    seed: Seed = Training.seed,
    weights: Annotated[
        str | None, typer.Option(help="State dict or checkpoint to start from; its head may have other classes.")
    ] = Training.weights,
    *,
    augment: Augment = Training.augment,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Draw images of rare classes about as often as those of frequent ones.")
    ] = Training.balanced,
    validate: Validate = None,
    hold_out: Annotated[
        float, typer.Option(help="Share of the samples to measure on instead of learning from them.")
    ] = Training.hold_out,
    patience: Patience = Training.patience,
    device: Device = Training.device,
    threads: Threads = None,
) -> None:
    """Train a classifier on the labels of a manifest.

    Softmax where every sample has one label, else multi-label. Losses, and with --hold-out or --validate the mean
    average precision, lie beside the checkpoint epoch by epoch, with the learning curve. Called again after it was
    killed, it goes on after the last epoch and ends with the same weights.

    Example: camaudit train train.parquet --model torchvision:resnet18 -o model.pt
    """
    _check_patience(patience, validate is not None or hold_out > 0, "--hold-out or --validate")
    if validate is not None and hold_out:
        raise typer.BadParameter("Expected --hold-out or --validate, got both; leave one out")
    with right_use():
        from audit.models.training.augmentation import check_augmentation

        check_augmentation(augment)
    from audit.models.execution import use_threads
    from pipelines.training.train import default_preprocessing
    from pipelines.training.train import train as fit_model

    use_threads(threads)
    with right_use():
        training = Training(
            model,
            default_preprocessing(size),
            epochs,
            learning_rate,
            batch_size,
            seed,
            weights,
            augment,
            balanced,
            hold_out,
            patience,
            device,
        )
    record = fit_model(
        _opened(manifest), training, out, TerminalProgress(), None if validate is None else _opened(validate)
    )
    print_trained(out, record)


def distill(
    manifest: ManifestPath,
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Folder of palette PNGs, one a sample: ID.png.")],
    arch: Annotated[
        str,
        typer.Option(
            help="unet, small; torchvision:NAME, as lraspp_mobilenet_v3_large; fpn:ARCH, a pyramid on a classifier of "
            "camaudit train; or module:function of a class count."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="Checkpoint to write.")],
    *,
    size: Annotated[int, typer.Option(min=16, help="Longer side of the input, pixels.")] = Distillation.size,
    epochs: Epochs = Distillation.epochs,
    learning_rate: Annotated[float, typer.Option(help="The first; it falls to 0.")] = Distillation.learning_rate,
    batch_size: BatchSize = Distillation.batch_size,
    seed: Seed = Distillation.seed,
    augment: Augment = Distillation.augment,
    weights: Annotated[
        str | None, typer.Option(help="Checkpoint or state dict of the same network to start from.")
    ] = Distillation.weights,
    backbone_weights: Annotated[
        str | None, typer.Option(help="The same of the classifier below the network, as camaudit train wrote it.")
    ] = Distillation.backbone_weights,
    confidence: Annotated[
        Path | None, typer.Option(dir_okay=False, help="CSV file with the columns id and confidence, 0..1.")
    ] = None,
    keep: Annotated[float, typer.Option(help="Share of the samples to learn from, the most confident.")] = (
        Distillation.keep
    ),
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Let a sample's pixels count as much as its confidence.")
    ] = Distillation.weighted,
    validate: Validate = None,
    patience: Patience = Distillation.patience,
    device: Device = Distillation.device,
    threads: Threads = None,
) -> None:
    """Train a segmentation network on label images.

    The labels are weak ones, as camaudit export --format voc-png writes them, or masks: 0 background, i + 1 class i,
    255 don't know, which is not learnt from. With --validate the mean IoU on true masks is measured after each epoch.
    Called again after it was killed, it goes on after the last epoch and ends with the same weights.

    Example: camaudit distill train.parquet masks --arch torchvision:lraspp_mobilenet_v3_large -o student.pt
    """
    _check_patience(patience, validate is not None, "--validate")
    if confidence is None and (keep < 1 or weighted):
        raise typer.BadParameter("Expected --confidence beside --keep and --weighted, to know how sure the labels are")
    from audit.models.execution import use_threads
    from audit.models.training.augmentation import check_augmentation
    from pipelines.training.distill import distill as fit_network

    use_threads(threads)
    with right_use():
        check_augmentation(augment)
        asked = Distillation(
            arch,
            size,
            epochs,
            learning_rate,
            batch_size,
            seed,
            augment,
            weights,
            backbone_weights,
            keep,
            weighted,
            patience,
            device,
        )
    validation = None if validate is None else _opened(validate)
    record = fit_network(_opened(manifest), labels, asked, out, TerminalProgress(), validation, confidence)
    print_distilled(out, record)


def segment(
    manifest: ManifestPath,
    model: Annotated[Path, typer.Option(dir_okay=False, help="Network that camaudit distill wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="Folder of the masks.")],
    *,
    unsure: Annotated[
        float, typer.Option(callback=share, help="Pixels whose class has a lower probability become 255, don't know.")
    ] = 0.0,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Only classes among a sample's labels, where it has any.")
    ] = False,
    arch: Annotated[str | None, typer.Option(help="Allows the code that the network names.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Write the masks that a distilled network sees.

    One palette PNG an image, scored where the manifest has masks, and confidence.csv. Together they can be the labels
    of the next camaudit distill. Called again after it was killed, it goes on.

    Example: camaudit segment train.parquet --model student.pt --unsure 0.7 -o masks-2
    """
    from audit.models.device import choose_device
    from audit.models.execution import use_threads
    from audit.models.segmenters import load_segmenter
    from pipelines.training.segment import segment_manifest

    use_threads(threads)
    samples, network = _opened(manifest), load_segmenter(model, arch)
    network.module.to(choose_device(device))
    summary = segment_manifest(samples, network, out, unsure, TerminalProgress(), labelled)
    print_json(summary) if as_json else print_segmented(out, summary)


def _opened(path: Path) -> Manifest:
    from audit.datasets import Manifest

    return Manifest.open(path)


def _check_patience(patience: int | None, measured: bool, options: str) -> None:
    if patience is not None and not measured:
        raise typer.BadParameter(f"Expected {options} beside --patience, to know which epoch is best")
