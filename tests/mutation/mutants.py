"""Mutants: a module with one small change that should make a test fail. Cosmic Ray knows the changes.

A place is one operator, number, condition, loop or decorator. Places are drawn, and for each one of its changes: else
comparisons, which can be changed in many ways, would be most of the sample. Left out is what says nothing of the tests:
annotations, which nobody runs, and operators that fail on any numbers, as a shift of floats.
"""

from __future__ import annotations

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[int, int]
Place = tuple[Position, Position]

_ALIKE = ({"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}, {"BitAnd", "BitOr", "BitXor"})
_IDENTITY = ("_Is", "_IsNot")


@dataclass(frozen=True)
class Mutant:
    """A changed module.

    Attributes:
        path: of the module, from the root of the project.
        line: where the change is.
        before, after: the lines that differ, stripped.
        source: all of the changed module.
    """

    path: str
    line: int
    before: str
    after: str
    source: str


def draw_mutants(root: Path, folder: Path, count: int, seed: int) -> list[Mutant]:
    """Mutants of modules below a folder at places that are drawn, each at another; fewer where there are no more."""
    rng = random.Random(seed)
    modules = {path: path.read_text() for path in sorted(folder.rglob("*.py"))}
    places = [(path, changes) for path, source in modules.items() for changes in _places(source)]
    rng.shuffle(places)
    drawn: list[Mutant] = []
    for path, changes in places:
        mutant = _mutant(str(path.relative_to(root)), modules[path], rng.sample(changes, len(changes)))
        drawn += [mutant] if mutant else []
        if len(drawn) == count:
            break
    return drawn


def _places(source: str) -> list[list[tuple[Any, int]]]:
    """For each place of a module the changes that can be made: operator, and which of its occurrences."""
    nodes, annotations = list(ast_nodes(get_ast(source))), list(_annotations(source))
    places: dict[Place, list[tuple[Any, int]]] = defaultdict(list)
    for operator in _operators():
        positions = (place for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start and end <= last for first, last in annotations):
                places[start, end].append((operator, occurrence))
    return [places[place] for place in sorted(places)]


def _operators() -> Iterator[Any]:
    for name in operator_names():
        kind = get_operator(name)
        if not kind.arguments() and not name.endswith(_IDENTITY) and _is_sensible(name):
            yield kind()


def _is_sensible(name: str) -> bool:
    what, _, ends = name.partition("ReplaceBinaryOperator_")
    return not ends or any(set(ends.split("_")) <= family for family in _ALIKE) or not what


def _annotations(source: str) -> Iterator[Place]:
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.expr) and part.end_lineno and part.end_col_offset:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def _mutant(path: str, source: str, changes: list[tuple[Any, int]]) -> Mutant | None:
    """By the first change that leaves Python and another program; None where none does."""
    for operator, occurrence in changes:
        changed = mutate_code(source, operator, occurrence)
        if changed is not None and _differs(source, changed):
            return Mutant(path, *_difference(source, changed), changed)
    return None


def _differs(source: str, changed: str) -> bool:
    try:
        return ast.dump(ast.parse(source)) != ast.dump(ast.parse(changed))
    except SyntaxError:
        return False


def _difference(source: str, changed: str) -> tuple[int, str, str]:
    """First line that differs, and the lines before and after, stripped and joined."""
    old, new = source.splitlines(), changed.splitlines()
    edits = [edit for edit in difflib.SequenceMatcher(None, old, new, False).get_opcodes() if edit[0] != "equal"]
    before = [line.strip() for _, start, stop, _, _ in edits for line in old[start:stop]]
    after = [line.strip() for _, _, _, start, stop in edits for line in new[start:stop]]
    return edits[0][1] + 1, " ".join(before), " ".join(after)
