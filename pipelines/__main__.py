"""`camaudit`, or `python -m pipelines`: hears signals from its first moment, for the rest takes time to load."""

from __future__ import annotations

from pipelines.interrupts import ignore_further, listen


def main() -> None:
    """Run the command line."""
    interrupts = listen()
    try:
        from pipelines.cli.main import main as run_command_line

        run_command_line()
    except KeyboardInterrupt:
        raise SystemExit(interrupts.exit_code) from None
    finally:
        ignore_further()


if __name__ == "__main__":
    main()
