"""Views of Browse that were given a name: filters and order as an address has them, kept in `RUN/views.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from audit.errors import RunError
from audit.store import Run, layout
from audit.store.storage.files import read_json, replace_json, version_of, write_json
from audit.store.storage.objects import Location

LONGEST = 80
"""Characters of a name."""
_VIEWS = "views"
_TRIES = 20
Query = Mapping[str, str]


class SavedViews:
    """The views of a run, which all who review it share."""

    def __init__(self, run: Run) -> None:
        self._path: Location = run.path / layout.VIEWS
        self._advice = f"set {layout.VIEWS} aside"

    def all(self) -> dict[str, Query]:
        """Names and what they stand for, by name.

        Raises:
            RunError: the file is damaged.
        """
        if not self._path.exists():
            return {}
        record = read_json(self._path, self._advice).get(_VIEWS, {})
        return {name: dict(query) for name, query in sorted(record.items())}

    def save(self, name: str, query: Query) -> None:
        """Give a view a name; one of that name is replaced.

        Raises:
            ValueError: the name is empty or too long.
            RunError: it cannot be written.
        """
        if not 0 < len(name.strip()) <= LONGEST:
            raise ValueError(f"Expected a name of 1 to {LONGEST} characters, got {len(name.strip())}")
        self._change(lambda views: views | {name.strip(): dict(query)})

    def forget(self, name: str) -> None:
        """Take a view away.

        Raises:
            RunError: it cannot be written.
        """
        self._change(lambda views: {other: query for other, query in views.items() if other != name})

    def _change(self, change: Callable[[dict[str, Query]], dict[str, Query]]) -> None:
        """Several may change them at once: who comes second changes what the first has written."""
        try:
            for _ in range(_TRIES):
                if self._changed(change):
                    return
        except OSError as error:
            raise RunError(f"Cannot write {self._path}: {error}; check that the run's folder is writable") from None
        raise RunError(f"Cannot write {self._path}: others change it all the time; try again")

    def _changed(self, change: Callable[[dict[str, Query]], dict[str, Query]]) -> bool:
        try:
            version = version_of(self._path)
        except FileNotFoundError:
            with suppress(FileExistsError):
                write_json(self._path, {_VIEWS: change({})}, exclusive=True)
                return True
            return False
        return replace_json(self._path, {_VIEWS: change(self.all())}, version)
