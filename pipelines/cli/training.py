"""Verbs that train networks and ask them for masks: train, distill, segment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options.common import Device, Json, ManifestPath, share
from pipelines.cli.options.groups import spread
from pipelines.cli.options.learning import ClassifierOptions, SegmenterOptions, Threads, opened
from pipelines.cli.printing import print_distilled, print_json, print_segmented, print_trained
from pipelines.terminal import TerminalProgress

Checkpoint = Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="Checkpoint to write.")]


@spread
def train(
    manifest: ManifestPath,
    model: Annotated[str, typer.Option(help="torchvision:NAME, timm:NAME or module:function of a class count")],
    out: Checkpoint,
    learning: ClassifierOptions,
    size: Annotated[int, typer.Option(min=1, help="Side of the input, pixels.")] = 224,
) -> None:
    """Train a classifier on the labels of a manifest.

    Softmax where every sample has one label, else multi-label. Losses, and with --hold-out or --validate the mean
    average precision, lie beside the checkpoint epoch by epoch, with the learning curve. Called again after it was
    killed, it goes on after the last epoch and ends with the same weights.

    Example: camaudit train train.parquet --model torchvision:resnet18 -o model.pt
    """
    training = learning.training(model, size)
    from pipelines.training.train import train as fit_model

    print_trained(out, fit_model(opened(manifest), training, out, TerminalProgress(), learning.validation()))


@spread
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
    out: Checkpoint,
    learning: SegmenterOptions,
) -> None:
    """Train a segmentation network on label images.

    The labels are weak ones, as camaudit export --format voc-png writes them, or masks: 0 background, i + 1 class i,
    255 don't know, which is not learnt from. With --validate the mean IoU on true masks is measured after each epoch.
    Called again after it was killed, it goes on after the last epoch and ends with the same weights.

    Example: camaudit distill train.parquet masks --arch torchvision:lraspp_mobilenet_v3_large -o student.pt
    """
    asked = learning.distillation(arch)
    from pipelines.training.distill import distill as fit_network

    record = fit_network(
        opened(manifest), labels, asked, out, TerminalProgress(), learning.validation(), learning.confidence
    )
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
    samples, network = opened(manifest), load_segmenter(model, arch)
    network.module.to(choose_device(device))
    summary = segment_manifest(samples, network, out, unsure, TerminalProgress(), labelled)
    print_json(summary) if as_json else print_segmented(out, summary)
