"""`camaudit`, also `python -m pipelines`, which hears signals from its first moment: the command line takes a while to load."""

from __future__ import annotations

from pipelines.interrupts import ignore_further, listening


def main() -> None:
    """Run the command line."""
    with listening() as interrupts:
        try:
            from pipelines.cli.main import main as run_command_line

            run_command_line()
        except KeyboardInterrupt:
            raise SystemExit(interrupts.exit_code) from None
        finally:
            ignore_further()


if __name__ == "__main__":
    main()
