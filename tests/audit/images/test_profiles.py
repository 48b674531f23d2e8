"""Buckets reached with a profile of Amazon's tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from bucket import Bucket, new_bucket, served

from audit.errors import TransientError
from audit.images.buckets import read_object, store_of


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    """A bucket with one object; from then on the environment names a profile, and no keys."""
    with served(monkeypatch) as faults:
        made = new_bucket(faults)
        obstore.put(store_of(made.url), "one.txt", b"one")
        store_of.cache_clear()
        (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = of-lab\naws_secret_access_key = secret\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_PROFILE", "lab")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        yield made
    store_of.cache_clear()


def test_the_keys_of_the_profile_that_is_named_sign_what_is_asked(bucket: Bucket) -> None:
    assert read_object(f"{bucket.url}/one.txt") == b"one"
    provider = store_of(bucket.url).credential_provider  # type: ignore[union-attr]
    assert provider is not None
    assert provider()["access_key_id"] == "of-lab"


def test_keys_in_the_environment_go_before_a_profile(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    assert read_object(f"{bucket.url}/one.txt") == b"one"
    assert store_of(bucket.url).credential_provider is None  # type: ignore[union-attr]


def test_a_profile_that_is_not_there_is_told_in_a_line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")
    with pytest.raises(TransientError, match=r"^Cannot use AWS_PROFILE=elsewhere: .*elsewhere.*; resume to try again$"):
        read_object(f"{bucket.url}/one.txt")
