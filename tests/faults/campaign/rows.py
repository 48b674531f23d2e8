"""What was tried and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """What was tried against one thing, and how it ended.

    Attributes:
        survived: ended as promised: an exit with one line, a named error, or nothing to be seen.
        identical: what stood in the end was, byte for byte, what stands where nothing happens; None where that says
            nothing.
        failures: what did not, a line each.
    """

    what: str
    tried: int = 0
    survived: int = 0
    identical: int | None = 0
    failures: list[str] = field(default_factory=list)

    def count(self, failure: str, identical: bool = False) -> None:
        """Count a trial that ended as promised, or with a failure."""
        self.tried += 1
        self.survived += not failure
        if self.identical is not None:
            self.identical += identical
        self.failures += [f"{self.what}: {failure}"] if failure else []
