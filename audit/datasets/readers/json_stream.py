"""A JSON object of long arrays, an element at a time, by the standard library's own decoder: what it takes is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

_CHUNK = 1 << 20
_BLANKS = " \t\n\r"
_BEHIND = (*_BLANKS, ",", ":", "]", "}")


class JsonStream:
    """Elements of the arrays that are members of an object; the rest is passed over.

    Attributes:
        arrays: names of the arrays that were begun.

    >>> import io
    >>> stream = JsonStream(io.StringIO('{"year": 2014, "images": [{"id": 1}, {"id": 2}], "licenses": []}'))
    >>> list(stream), stream.arrays
    ([('images', {'id': 1}), ('images', {'id': 2})], ['images', 'licenses'])
    """

    def __init__(self, file: IO[str]) -> None:
        self.arrays: list[str] = []
        self._file = file
        self._text = ""
        self._place = 0
        self._decode = json.JSONDecoder().raw_decode

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Name of the array and element.

        Raises:
            ValueError: it is not JSON, or no object.
        """
        self._expect("{", "an object")
        more = self._peek() != "}"
        while more:
            name = self._value() if self._peek() == '"' else self._fail("Expecting property name")
            self._expect(":", "':' delimiter")
            yield from self._elements(name)
            more = self._peek() == "," and self._skip()
        self._expect("}", "',' delimiter")
        if self._peek():
            self._fail("Extra data")

    def _elements(self, name: str) -> Iterator[tuple[str, Any]]:
        if self._peek() != "[":
            self._value()
            return
        self.arrays.append(name)
        self._skip()
        more = self._peek() != "]"
        while more:
            yield name, self._value()
            more = self._peek() == "," and self._skip()
        self._expect("]", "',' delimiter")

    def _value(self) -> Any:
        """The next value. A number is whole only where something follows it."""
        self._peek()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError:
                if self._read():
                    continue
                raise
            if self._text[end : end + 1] in _BEHIND or not self._read():
                self._place = end
                return value

    def _peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in _BLANKS:
                self._place += 1
            if self._place < len(self._text) or not self._read():
                return self._text[self._place : self._place + 1]

    def _skip(self) -> bool:
        self._place += 1
        return True

    def _expect(self, character: str, what: str) -> None:
        if self._peek() != character:
            self._fail(f"Expecting {what}")
        self._skip()

    def _fail(self, message: str) -> Any:
        raise json.JSONDecodeError(message, self._text, self._place)

    def _read(self) -> bool:
        """Read on, twice as much where a value is longer than what there is; whether there was more."""
        rest = self._text[self._place :]
        coming = self._file.read(max(_CHUNK, len(rest)))
        self._text, self._place = rest + coming, 0
        return bool(coming)
