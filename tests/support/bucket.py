"""An S3 of one's own on loopback (moto), which answers late, wrongly or not at all where a test asks for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import boto3
import dask
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

Asked = Callable[[str, str], bool]
"""Whether a fault concerns a request, by its method and path."""


@dataclass
class Faults:
    """What the store does wrong.

    Attributes:
        requests: how many there were, by method.
    """

    requests: dict[str, int] = field(default_factory=dict)
    _coming: list[tuple[Asked, Callable[[], Response | None], bool]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refuse(self, asked: Asked, status: int, times: int = 1) -> None:
        """Answer so, and do nothing."""
        self._coming += [(asked, lambda: _answer(status), False)] * times

    def lose(self, asked: Asked, times: int = 1) -> None:
        """Do as asked, and answer that something went wrong."""
        self._coming += [(asked, lambda: _answer(500), True)] * times

    def delay(self, asked: Asked, seconds: float, times: int = 1) -> None:
        """Answer late."""
        self._coming += [(asked, lambda: time.sleep(seconds), False)] * times

    def left(self) -> int:
        """Faults that no request has met yet."""
        return len(self._coming)

    def forget(self) -> None:
        """Do all right from now on."""
        self._coming.clear()

    def meet(self, method: str, path: str) -> tuple[Callable[[], Response | None], bool] | None:
        """The fault that a request meets, once."""
        with self._lock:
            self.requests[method] = self.requests.get(method, 0) + 1
            for fault in self._coming:
                if fault[0](method, path):
                    self._coming.remove(fault)
                    return fault[1:]
        return None


@dataclass(frozen=True)
class Bucket:
    """A bucket; its URL, and what its store does wrong."""

    url: str
    faults: Faults


def put_of(name: str) -> Asked:
    """Puts of objects whose key has this in it."""
    return lambda method, path: method == "PUT" and name in path


@contextmanager
def served(patch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The store, and how to reach it in the environment, of processes that are started meanwhile as well."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    faults, application = Faults(), DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, object], start: Callable[..., object]) -> Iterable[bytes]:
        met = faults.meet(str(environ["REQUEST_METHOD"]), str(environ["PATH_INFO"]))
        if met is None:
            return application(environ, start)  # type: ignore[no-any-return]
        wrong, done = met
        if done:
            list(application(environ, lambda *_: None))
        response = wrong()
        return response(environ, start) if response else application(environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    keys = {"ACCESS_KEY_ID": "any", "SECRET_ACCESS_KEY": "any", "REGION": "us-east-1"}
    place = {f"AWS_{name}": value for name, value in keys.items()}
    place["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.port}"
    for name, value in place.items():
        patch.setenv(name, value)
    try:
        with dask.config.set({"distributed.nanny.environ": place}):  # workers are forks of a process without it
            yield faults
    finally:
        server.shutdown()
        thread.join()


def new_bucket(faults: Faults) -> Bucket:
    """An empty one."""
    name = f"audits-{uuid4().hex[:8]}"
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=name)
    return Bucket(f"s3://{name}", faults)


def _answer(status: int) -> Response:
    name = {409: "ConditionalRequestConflict", 412: "PreconditionFailed", 503: "SlowDown"}.get(status, "InternalError")
    text = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>as the test asked</Message></Error>"
    return Response(text, status=status, content_type="application/xml")
