"""The command line: verbs only. Exit 0 done, 1 failed, 2 wrong use, 130 interrupted."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from audit.errors import AuditError
from pipelines.cli_checks import faithfulness, sanity, verify
from pipelines.cli_compare import compare
from pipelines.cli_index import index_app
from pipelines.cli_methods import explain, methods
from pipelines.cli_options import Json, RunPath, Threshold, Workers, names, print_json, right_use
from pipelines.cli_plant import plant
from pipelines.cli_run import flag, report, run, score

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Does the classifier look at the object when it names it? Audits image collections.",
)
app.add_typer(index_app, name="index")
for verb in (compare, explain, faithfulness, flag, methods, plant, report, run, sanity, score, verify):
    app.command()(verb)


_WRONG_USE: type[Exception] = typer.BadParameter.__bases__[0]
"""What every wrong use of the command line raises."""


def main() -> None:
    """Run the command line; user-facing failures are one line."""
    try:
        raise SystemExit(app(prog_name="camaudit", standalone_mode=False))
    except _WRONG_USE as error:
        _fail_wrong_use(error)
    except AuditError as error:
        _fail(str(error))
    except OSError as error:
        from pipelines.shards import describe

        _fail(describe(error))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the run.")] = Path("data/runs/demo"),
    scenes: Annotated[Path, typer.Option(help="Folder of the scenes.")] = Path("data/planted"),
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = 0,
    workers: Workers = 2,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training scenes.")] = 8,
) -> None:
    """Plant shortcuts in drawn scenes, train a small network, audit it, and show the findings beside the truth.

    Example: camaudit demo
    """
    from audit.datasets.planted import PlantedSpec
    from pipelines.config import ClusterConfig
    from pipelines.demo import demo as run_demo

    with right_use():
        spec = PlantedSpec(seed=seed)
    run_demo(out, scenes, spec, ClusterConfig(workers), epochs)


@app.command()
def fetch(
    dataset: Annotated[str, typer.Argument(help="voc2012")],
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
) -> None:
    """Download a data set through torchvision.

    Example: camaudit fetch voc2012 data
    """
    if dataset != "voc2012":
        raise typer.BadParameter(f"Expected voc2012, got {dataset!r}")
    from torchvision.datasets import VOCSegmentation

    try:
        VOCSegmentation(str(folder), year="2012", image_set="trainval", download=True)
    except (OSError, RuntimeError) as error:
        raise AuditError(f"Cannot download VOC 2012 to {folder}: {error}") from None
    typer.echo(f"{folder / 'VOCdevkit'}: index it with: camaudit index voc {folder / 'VOCdevkit'} -o voc.parquet")


@app.command()
def train(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST")],
    model: Annotated[str, typer.Option(help="torchvision:NAME, timm:NAME or module:function of a class count")],
    out: Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="Checkpoint to write.")],
    size: Annotated[int, typer.Option(min=1, help="Side of the input, pixels.")] = 224,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the samples.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 64,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    weights: Annotated[
        str | None, typer.Option(help="State dict or checkpoint to start from; its head may have other classes.")
    ] = None,
) -> None:
    """Train a classifier: softmax where every sample has one label, else multi-label.

    Example: camaudit train train.parquet --model torchvision:resnet18 -o model.pt
    """
    from audit.datasets import Manifest
    from pipelines.terminal import TerminalProgress
    from pipelines.train import Training, default_preprocessing, use_all_cores
    from pipelines.train import train as fit_model

    use_all_cores()
    training = Training(model, default_preprocessing(size), epochs, learning_rate, batch_size, seed, weights)
    done = fit_model(Manifest.open(manifest), training, out, TerminalProgress())
    typer.echo(f"{out}: {done['samples']} samples ({done['unreadable']} unreadable), last mean loss {done['loss']:.4f}")


@app.command()
def status(
    run_path: RunPath,
    check: Annotated[bool, typer.Option("--check", help="Compare every committed file with its checksum.")] = False,
    as_json: Json = False,
) -> None:
    """Account for every sample: processed + failed + pending = samples.

    Example: camaudit status runs/val --check
    """
    from audit.store import Run
    from pipelines.report import print_status, status_record

    opened = Run.open(run_path)
    record = status_record(opened, check)
    print_json(record) if as_json else print_status(opened, record)
    if record.get("damaged") or not record["adds_up"]:
        raise SystemExit(1)


@app.command()
def repair(run_path: RunPath) -> None:
    """Take damaged shards back out of the ledger; the run's own command then recomputes them.

    Example: camaudit repair runs/val
    """
    from audit.store import Run

    opened = Run.open(run_path)
    with opened.locked():
        damaged = list(opened.damaged())
        for shard, name in damaged:
            typer.echo(f"damaged: {name}; samples {shard.start} to {shard.stop - 1} are pending again")
            opened.withdraw(shard)
    command = opened.record.get("command", "the command that began the run")
    typer.echo(f"{len(damaged)} shards to recompute, with:\n  {command}" if damaged else "nothing is damaged")


@app.command()
def findings(
    run_path: RunPath,
    most: Annotated[int, typer.Option(min=0, help="Findings about targets to print.")] = 20,
    as_json: Json = False,
) -> None:
    """Print the classes and targets that look off the object.

    Example: camaudit findings runs/val --most 50
    """
    from audit.export import findings_record
    from audit.store import Run
    from pipelines.report import print_findings

    opened = Run.open(run_path)
    print_json(findings_record(opened)) if as_json else print_findings(opened, most)


@app.command()
def export(
    run_path: RunPath,
    kind: Annotated[str, typer.Option("--format", help="voc-png (pseudo-masks), csv or parquet (findings).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of masks, or file of findings.")],
    threshold: Threshold = None,
    roles: Annotated[str, typer.Option(help="Targets that make pseudo-masks.")] = "label",
) -> None:
    """Write pseudo-masks or findings for other tools.

    Example: camaudit export runs/val --format voc-png -o masks
    """
    from pipelines.config import known_roles
    from pipelines.export import export_run

    with right_use():
        chosen = known_roles(names(roles))
    typer.echo(export_run(run_path, kind, out, threshold, chosen))


_DASHBOARD = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "theme.base": "light",
    "theme.primaryColor": "#3b6ea5",
}


@app.command()
def dashboard(
    run_path: RunPath,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8501,
    reviewer: Annotated[
        str | None, typer.Option(help="Name that verdicts are stored under. [default: the user's]")
    ] = None,
) -> None:
    """Browse a run's findings and give verdicts, at http://127.0.0.1:8501.

    Example: camaudit dashboard runs/val
    """
    from audit.store import Run

    Run.open(run_path)
    found = importlib.util.find_spec("dashboards")
    assert found is not None
    assert found.origin is not None
    page = Path(found.origin).with_name("app.py")
    flags = [f"--{name}={value}" for name, value in (_DASHBOARD | {"server.port": port}).items()]
    arguments = [str(run_path), *([reviewer] if reviewer else [])]
    typer.echo(f"http://127.0.0.1:{port}  (Ctrl-C to stop)")
    command = [sys.executable, "-m", "streamlit", "run", str(page), *flags, "--", *arguments]
    try:
        raise SystemExit(subprocess.run(command, check=False).returncode)
    except KeyboardInterrupt:
        raise SystemExit(0) from None


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine has: versions, cores, memory, GPU, compiler.

    Example: camaudit doctor
    """
    from pipelines.doctor import examine

    found = examine()
    print_json(found) if as_json else typer.echo("\n".join(f"{name:<14}{value}" for name, value in found.items()))


def _fail_wrong_use(error: Any) -> NoReturn:
    """One line, or the help where nothing was asked."""
    message = error.format_message()
    if "\n" in message:
        error.show()
    else:
        verb = error.ctx.command_path if error.ctx else "camaudit"
        typer.echo(f"{verb}: {message.rstrip('.')}; see: {verb} --help", err=True)
    raise SystemExit(2)


def _fail(message: str) -> None:
    typer.echo(f"camaudit: {message}", err=True)
    raise SystemExit(1)
