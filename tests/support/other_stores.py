"""Other stores: Azurite, a program of its own; a stand-in for Google's, written here; an S3 server that is named."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote
from urllib.request import Request as Ask
from urllib.request import urlopen
from uuid import uuid4
from xml.sax.saxutils import escape

import boto3
import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that Azurite has, and its key, which is public."""
AZURITE = "azurite-blob"
SERVER = "CAMAUDIT_TEST_S3"
"""Variable that names an S3 server to be tried, by its URL; its keys stand in the variables of AWS."""


@contextmanager
def azurite(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """An Azure Blob Storage with one container, and how to reach it in the environment; gives the container's URL."""
    program = shutil.which(AZURITE)
    if program is None:
        pytest.skip(f"no {AZURITE} on the PATH; npm install azurite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = f"http://127.0.0.1:{port}"
    told = ["--blobPort", str(port), "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    process = subprocess.Popen([program, *told], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    named = {"STORAGE_ACCOUNT_NAME": ACCOUNT, "STORAGE_ACCOUNT_KEY": KEY, "STORAGE_USE_EMULATOR": "true"}
    for name, value in named.items():
        patch.setenv(f"AZURE_{name}", value)
    patch.setenv("AZURITE_BLOB_STORAGE_URL", server)
    try:
        yield f"az://{_new_container(server)}"
    finally:
        process.terminate()
        process.wait()


def _new_container(server: str) -> str:
    """Asked for by hand, signed with the account's key: the library in use knows objects alone."""
    name, now = f"audits-{uuid4().hex[:8]}", format_datetime(datetime.now(UTC), usegmt=True)
    headers = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
    signed = "".join(f"{key}:{value}\n" for key, value in headers.items())
    text = f"PUT{12 * chr(10)}{signed}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    ask = Ask(f"{server}/{ACCOUNT}/{name}?restype=container", method="PUT", headers=headers)
    for _ in range(100):
        try:
            urlopen(ask).close()
            return name
        except URLError as error:
            if hasattr(error, "code"):
                raise
            time.sleep(0.1)  # it is still starting
    raise TimeoutError(f"{AZURITE} did not answer at {server}")


@contextmanager
def own_s3(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket of the S3 server that the environment names, and how to reach it; gives the bucket's URL."""
    server = os.environ.get(SERVER)
    if server is None:
        pytest.skip(f"no S3 server named by {SERVER}, as http://127.0.0.1:9000")
    known = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": "us-east-1"}
    for name, value in known.items():
        patch.setenv(f"AWS_{name}", os.environ.get(f"AWS_{name}", value))
    patch.setenv("AWS_ENDPOINT_URL", server)
    name = f"audits-{uuid4().hex[:8]}"
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket=name)
    yield f"s3://{name}"


@contextmanager
def google(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in for Google Cloud Storage, and how to reach it in the environment; gives the URL of a bucket."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, GoogleStore().answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    patch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.port}")
    patch.setenv("GOOGLE_BEARER_TOKEN", "any")
    try:
        yield f"gs://audits-{uuid4().hex[:8]}"
    finally:
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class _Object:
    content: bytes
    generation: int
    written: datetime

    @property
    def headers(self) -> dict[str, str]:
        """What is told of it."""
        when = format_datetime(self.written, usegmt=True)
        return {"ETag": f'"{_digest(self.content)}"', "Last-Modified": when, "x-goog-generation": str(self.generation)}


@dataclass
class GoogleStore:
    """Objects of any bucket, by Google's XML API: a condition is on the generation, 0 for none; 412 refuses."""

    objects: dict[str, _Object] = field(default_factory=dict)
    _generation: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @Request.application
    def answer(self, request: Request) -> Response:
        """The answer to any request."""
        bucket, _, key = unquote(request.path.lstrip("/")).partition("/")
        with self._lock:
            if not key:
                return self._list(f"{bucket}/", request)
            return self._about(f"{bucket}/{key}", request)

    def _about(self, name: str, request: Request) -> Response:
        if request.method == "PUT":
            source = request.headers.get("x-goog-copy-source")
            content = request.data if source is None else self.objects[unquote(source).lstrip("/")].content
            return self._put(name, content, request.headers.get("x-goog-if-generation-match"))
        if (stored := self.objects.get(name)) is None:
            return Response("<Error><Code>NoSuchKey</Code></Error>", 404)
        if request.method == "DELETE":
            del self.objects[name]
            return Response(status=204)
        response = Response(stored.content, headers=stored.headers, content_type="application/octet-stream")
        return response.make_conditional(request, accept_ranges=True, complete_length=len(stored.content))

    def _put(self, name: str, content: bytes, expected: str | None) -> Response:
        standing = self.objects.get(name)
        if expected is not None and int(expected) != (standing.generation if standing else 0):
            return Response("<Error><Code>PreconditionFailed</Code></Error>", 412)
        self._generation += 1
        stored = self.objects[name] = _Object(content, self._generation, datetime.now(UTC))
        answer = "<CopyObjectResult></CopyObjectResult>"
        return Response(answer, headers=stored.headers)

    def _list(self, bucket: str, request: Request) -> Response:
        prefix, delimiter = request.args.get("prefix", ""), request.args.get("delimiter", "")
        contents, folders = "", dict[str, None]()
        for name in sorted(key.removeprefix(bucket) for key in self.objects if key.startswith(bucket + prefix)):
            rest = name.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folders[prefix + rest.partition(delimiter)[0] + delimiter] = None
            else:
                contents += _entry(name, self.objects[bucket + name])
        common = "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders)
        listed = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
        return Response(listed, content_type="application/xml")


def _entry(name: str, stored: _Object) -> str:
    when = stored.written.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = (
        f"<LastModified>{when}</LastModified><ETag>{_digest(stored.content)}</ETag><Size>{len(stored.content)}</Size>"
    )
    return f"<Contents><Key>{escape(name)}</Key>{told}</Contents>"


def _digest(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
