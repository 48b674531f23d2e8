"""What a store grants is tried before a run rests on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bucket import Faults, new_bucket, served
from other_stores import GoogleStore, google

from audit.datasets import Manifest, Sample
from audit.errors import RunError
from audit.store import Run
from audit.store.storage.granted import check_conditions, check_writable
from audit.store.storage.objects import ObjectPath


@pytest.fixture(scope="module")
def store() -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch, served(patch) as faults:
        yield faults


@pytest.fixture
def folder(store: Faults) -> ObjectPath:
    return ObjectPath.parse(new_bucket(store).url) / "run"


def test_a_store_that_keeps_to_conditions_is_taken_and_nothing_is_left_there(folder: ObjectPath) -> None:
    check_conditions(folder)
    check_writable(folder)
    assert not folder.below()


@pytest.mark.parametrize("condition", ["if-none-match", "if-match"])
def test_a_store_that_ignores_a_condition_holds_no_run(
    condition: str, folder: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As s3rver does, of both."""
    from moto.s3.responses import S3Response

    put = S3Response.put_object

    def without_it(self: S3Response) -> object:
        self.headers = {name: value for name, value in self.headers.items() if name.lower() != condition}
        return put(self)

    monkeypatch.setattr(S3Response, "put_object", without_it)
    listed = Manifest.from_samples([Sample("a", "a.png")], ("a",))
    with pytest.raises(RunError, match=r"does not keep to If-None-Match and If-Match.*choose a directory"):
        Run.create(folder, listed, {"config": {}, "model": {}})
    assert not folder.below()


def test_a_store_that_refuses_conditions_holds_no_run(folder: ObjectPath, store: Faults) -> None:
    store.refuse(lambda method, path: method == "PUT" and store.requests["PUT"] > asked + 2, 501, times=20)
    asked = store.requests["PUT"]
    with pytest.raises(RunError, match="does not keep to If-None-Match and If-Match"):
        check_conditions(folder)
    store.forget()


def test_google_s_store_is_asked_by_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    with google(monkeypatch) as url:
        check_conditions(ObjectPath.parse(f"{url}/run"))
        put = GoogleStore._put
        monkeypatch.setattr(GoogleStore, "_put", lambda self, name, content, _: put(self, name, content, None))
        with pytest.raises(RunError, match="does not keep to"):
            check_conditions(ObjectPath.parse(f"{url}/run"))
