"""Clients of object stores, one a bucket. How to reach it stands in the environment, by the names of each vendor."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions
from obstore.store import ObjectStore, from_url

from audit.errors import RunError, TransientError
from audit.wording import one_line

if TYPE_CHECKING:
    from obstore.store import ClientConfig

ABSENT = (exceptions.NotFoundError, FileNotFoundError)
"""Of an object: some operations raise the one, some the other."""
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound")
_METADATA = "169.254.169.254"
"""Where a machine of the vendor is asked for credentials when the environment has none."""
_ENDPOINTS = ("AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")
"""Where the environment names another server than the vendor's."""
_ALSO = {"gcs": "gs"}
"""Kinds of URL by another name."""


@cache
def store_of(url: str) -> ObjectStore:
    """The store of a bucket or folder.

    Raises:
        RunError: what the environment says of it cannot be used.
    """
    options: ClientConfig = {"timeout": "120s"}
    if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):  # who names one means it
        options["allow_http"] = True
    asked = {"credential_provider": _of_profile()} if url.startswith("s3://") and _names_profile() else {}
    try:
        return from_url(url, client_options=options, **asked)
    except exceptions.BaseError as error:
        raise RunError(f"Cannot use {one_line(url)}: {_reason(error)}") from None


def _names_profile() -> bool:
    """Whether the environment names a profile of Amazon's tools, and no key that would go before it."""
    return bool(os.environ.get("AWS_PROFILE")) and not os.environ.get("AWS_ACCESS_KEY_ID")


def _of_profile() -> Any:
    """Credentials of the profile, and its region: keys, a role or a single sign-on, renewed when they run out.

    Raises:
        RunError: boto3 is not installed, or there is no such profile.
    """
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise RunError(
            "AWS_PROFILE names a profile, which takes boto3: pip install 'camaudit[aws]'; or export its keys"
        ) from None
    from botocore.exceptions import BotoCoreError

    try:
        return Boto3CredentialProvider()
    except (BotoCoreError, ValueError) as error:
        raise RunError(f"Cannot use AWS_PROFILE={os.environ['AWS_PROFILE']}: {_reason(error)}") from None


def read_object(url: str) -> bytes:
    """The content at a URL of a bucket. A store that cannot answer for a while was asked for three minutes.

    Raises:
        OSError: there is no such object, or it cannot be read.
        TransientError: how to reach the store is not in the environment.
    """
    kind, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    try:
        store = store_of(f"{_ALSO.get(kind, kind)}://{bucket}")
    except RunError as error:
        raise TransientError(f"{error}; resume to try again") from None
    with named_errors(url):
        return obstore.get(store, key).bytes().to_bytes()


@contextmanager
def named_errors(place: object) -> Iterator[None]:
    """Errors of a store as those of files, with the URL of an object."""
    try:
        yield
    except ABSENT:
        raise FileNotFoundError(errno.ENOENT, "No such object, or no such bucket", str(place)) from None
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise FileExistsError(errno.EEXIST, "There is such an object", str(place)) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        reason = f"Access denied; check the credentials in the environment: {_reason(error)}"
        raise PermissionError(errno.EACCES, reason, str(place)) from None
    except exceptions.BaseError as error:
        if _NO_BUCKET.search(str(error)):
            raise FileNotFoundError(errno.ENOENT, "No such bucket", str(place)) from None
        if _METADATA in str(error):
            raise PermissionError(errno.EACCES, "No credentials in the environment", str(place)) from None
        raise OSError(errno.EIO, f"Object store failed: {_reason(error)}", str(place)) from None


def _reason(error: BaseException) -> str:
    return one_line(str(error).partition("\n")[0])[:300]
