"""What the name of a place in a bucket says, without asking the store."""

from __future__ import annotations

import pytest

from audit.store.storage.objects import ObjectPath


@pytest.mark.parametrize(
    ("key", "parents"),
    [
        ("", []),
        ("run", [""]),
        ("a/b/c", ["a/b", "a", ""]),
        (".cache/run/maps", [".cache/run", ".cache", ""]),
        ("runs./x/y", ["runs./x", "runs.", ""]),
    ],
)
def test_parents_keep_the_dots_of_their_names(key: str, parents: list[str]) -> None:
    place = ObjectPath("s3://bucket", key)
    assert place.parents == [ObjectPath("s3://bucket", parent) for parent in parents]
    assert place.parent == (place.parents[0] if key else place)
