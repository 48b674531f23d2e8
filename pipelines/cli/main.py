"""The app: its verbs in the order of work, and how failures end it."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from audit.errors import AuditError
from pipelines.cli.checks import faithfulness, sanity, verify
from pipelines.cli.compare import compare
from pipelines.cli.concepts import like, units
from pipelines.cli.dashboard import dashboard
from pipelines.cli.doctor import doctor
from pipelines.cli.embed import embed
from pipelines.cli.findings import export, findings, report
from pipelines.cli.index import index_app
from pipelines.cli.labels import labels
from pipelines.cli.methods import explain, methods
from pipelines.cli.metrics import metrics
from pipelines.cli.options.groups import Verb, on_this_machine
from pipelines.cli.plant import demo, fetch, grade, plant, scenes
from pipelines.cli.review import review_app
from pipelines.cli.run import flag, repair, run, score, status
from pipelines.cli.training import distill, segment, train
from pipelines.interrupts import INTERRUPTED, listening
from pipelines.terminal import command_line

VERBS = (
    *(fetch, run, status, repair, score, flag),
    *(findings, units, like, report, metrics, embed, dashboard),
    *(labels, export),
    *(explain, methods, verify, sanity, faithfulness, compare),
    *(train, distill, segment),
    *(plant, grade, scenes, demo, doctor),
)
"""In the order of work; `index` goes before them, and `review` behind `dashboard`."""


class InOrderOfWork(TyperGroup):
    """The verbs; without this, those with verbs of their own would come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the verbs."""
        alone = [verb.__name__ for verb in VERBS]
        behind = alone.index(dashboard.__name__) + 1
        return ["index", *alone[:behind], "review", *alone[behind:]]


app = typer.Typer(
    cls=InOrderOfWork,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Does the classifier look at the object when it names it? Audits image collections.",
)
app.add_typer(index_app, name="index")
app.add_typer(review_app, name="review")
for verb in VERBS:
    app.command(cls=Verb)(on_this_machine(verb))


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"camaudit {version('camaudit')}")
        raise typer.Exit


@app.callback()
def camaudit(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What goes before a verb."""


_WRONG_USE: type[Exception] = typer.BadParameter.__bases__[0]
"""What every wrong use of the command line raises."""


def main() -> None:
    """Run the command line; user-facing failures are one line, and so are Ctrl-C and SIGTERM."""
    with listening() as interrupts:
        try:
            code = app(prog_name="camaudit", standalone_mode=False)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except _WRONG_USE as error:
            _fail_wrong_use(error)
        except AuditError as error:
            _fail(str(error))
        except OSError as error:
            from pipelines.run.shards.shard import describe

            _fail(describe(error))
        if code == INTERRUPTED:  # Typer makes it of a verb's KeyboardInterrupt
            _end_interrupted(interrupts.exit_code)
        raise SystemExit(code)


def _end_interrupted(code: int) -> NoReturn:
    """How to go on, in two lines."""
    typer.echo(f"interrupted; what is finished is kept. Go on with:\n  {command_line()}", err=True)
    raise SystemExit(code)


def _fail_wrong_use(error: Any) -> NoReturn:
    """One line, or the help where nothing was asked."""
    message = error.format_message()
    if "\n" in message:
        error.show()
    else:
        path = error.ctx.command_path if error.ctx else "camaudit"
        typer.echo(f"{path}: {message.rstrip('.')}; see: {path} --help", err=True)
    raise SystemExit(2)


def _fail(message: str) -> NoReturn:
    typer.echo(f"camaudit: {message}", err=True)
    raise SystemExit(1)
