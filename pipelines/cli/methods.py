"""Verbs about the attribution methods: what there are, and one image under them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options.common import Device, Json, right_use
from pipelines.cli.options.groups import ModelDetailOptions, spread
from pipelines.cli.printing import line, print_json, print_methods
from pipelines.terminal import TerminalProgress

if TYPE_CHECKING:
    from audit.models import Classifier
    from audit.store import Run


def methods(as_json: Json = False) -> None:
    """List the attribution methods.

    Each with its cost: forward passes an image, backward passes a target. Those that repeat another method go before
    its name, with a colon: smoothgrad:saliency.

    Example: camaudit methods
    """
    rows = method_rows()
    print_json(rows) if as_json else print_methods(rows)


def method_rows() -> list[dict[str, Any]]:
    """Every method as it describes itself."""
    from audit.attribution import AROUND, METHODS

    rows = []
    for method in (*METHODS.values(), *AROUND.values()):
        around = method.name in AROUND
        rows.append(
            {
                "name": f"{method.name}:METHOD" if around else method.name,
                "description": method.description,
                "paper": method.paper,
                "forward_passes": method.forward_passes,
                "backward_passes": method.backward_passes,
                "needs_gradients": None if around else method.backward_passes != "none",
                "maps": "as METHOD's" if around else "input" if method.pixels else "layer",
            }
        )
    return rows


@spread
def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="File or URL.")],
    details: ModelDetailOptions,
    model: Annotated[str | None, typer.Option(help="As for camaudit run.")] = None,
    run_path: Annotated[
        Path | None, typer.Option("--run", help="Run whose model is taken; with --model where that is code.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="PNG to write.")] = Path("explained.png"),
    class_name: Annotated[str | None, typer.Option("--class", help="What to explain. [default: predicted]")] = None,
    method: Annotated[list[str] | None, typer.Option(help="May be given several times. [default: all]")] = None,
    text: Annotated[
        str | None,
        typer.Option(help="The image's text, for a network that reads one. [default: that in --run]"),
    ] = None,
    units: Annotated[
        bool, typer.Option("--units", help="Draw what the network sees instead: the class, channels, layers.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Draw one image under one method, several, or all.

    With --units: images of the class made from nothing (Simonyan et al. 2014, Yosinski et al. 2015), the channels that
    add most to it at the pixels (deconvnet), and the strongest activations of each layer.

    Example: camaudit explain cat.jpg --model torchvision:resnet50 --weights IMAGENET1K_V2 --method gradcam -o cat.png
    """
    if model is None and run_path is None:
        raise typer.BadParameter("Expected --model, or --run with a run whose model is taken; got neither")
    if run_path is not None and details.given():
        raise typer.BadParameter(f"Expected {details.given()[0]} without --run, whose own is taken; leave one out")
    run = _checked(class_name, model, details.weights, run_path)
    chosen = _checked_methods(method)
    classifier = _classifier(run, model, details, device)
    if units:
        _draw_seen(image, classifier, class_name, out)
        return
    from audit.models.aimed.words import WordClassifier
    from pipelines.experiments.explain import explain_image, text_of

    text = text_of(run, image) if text is None and run is not None and isinstance(classifier, WordClassifier) else text
    named, panels = explain_image(image, classifier, chosen, class_name, out, TerminalProgress(), text)
    for panel in panels:
        if panel.heat is None:
            typer.echo(f"{panel.method}: {panel.reason}", err=True)
    line(f"{out}: {named} under {sum(panel.heat is not None for panel in panels)} methods")


def _checked(class_name: str | None, model: str | None, weights: str | None, run_path: Path | None) -> Run | None:
    """The run, where one is named; what cannot be is refused before torch is loaded, which takes seconds."""
    from audit.store import Run
    from pipelines.experiments.source import check_class, source_of_run

    if run_path is None:
        check_class(class_name, str(model), weights)
        return None
    run = Run.open(run_path)
    source_of_run(run, model)
    return run


def _checked_methods(names: list[str] | None) -> list[str]:
    """The methods that are named, or all."""
    from audit.attribution import AROUND, METHODS, check_method

    chosen = names or [*METHODS, *(f"{name}:gradcam" for name in AROUND)]
    with right_use():
        for name in chosen:
            check_method(name)
    return chosen


def _classifier(run: Run | None, model: str | None, details: ModelDetailOptions, device: str) -> Classifier:
    """The model that is named, or the run's, on its device."""
    from audit.models import load_classifier
    from audit.models.device import choose_device, move
    from audit.models.execution import use_threads
    from pipelines.experiments.model import model_of_run

    use_threads()
    classifier = load_classifier(details.of(str(model))) if run is None else model_of_run(run, model)
    move(classifier.module, choose_device(device))
    return classifier


def _draw_seen(image: str, classifier: Classifier, class_name: str | None, out: Path) -> None:
    from pipelines.experiments.seen import draw_seen

    named, logits = draw_seen(image, classifier, class_name, out, progress=TerminalProgress())
    line(f"{out}: what the network sees of {named}; logits of its images {', '.join(f'{v:.1f}' for v in logits)}")
