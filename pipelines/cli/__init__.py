"""The command line: a verb parses, calls, prints. Exit 0 done, 1 failed, 2 wrong use, 130 interrupted."""

from pipelines.cli.main import app, main

__all__ = ["app", "main"]
