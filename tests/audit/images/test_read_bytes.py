"""Reading bytes: a path or URL; what may pass is tried again, the rest is refused in one line that names the file."""

from __future__ import annotations

import errno
import os
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from audit.datasets.manifest import Manifest, Sample, storable_path
from audit.errors import ImageError, ManifestError, TransientError
from audit.images.locations import EXTRA
from audit.images.reading import read_bytes


class FlakyOpen:
    """`open` that fails a number of times, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return open(*arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a picture #1.bin"
    path.write_bytes(b"content")
    return path


def test_a_local_path_and_its_file_urls_give_the_same_bytes(file: Path) -> None:
    quoted = str(file).replace(" ", "%20").replace("#", "%23")
    for path in (str(file), f"file://{quoted}", f"file://localhost{quoted}", f"file:{quoted}"):
        assert read_bytes(path) == b"content"


def test_a_name_that_is_not_utf8_is_read_through_its_storable_path(tmp_path: Path) -> None:
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9.jpg"))
    try:
        Path(path).write_bytes(b"content")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert read_bytes(storable_path(path)) == b"content"
    assert read_bytes(path) == b"content"


def test_errors_about_odd_names_stay_one_line_of_valid_utf8(tmp_path: Path) -> None:
    for name in (os.fsdecode(b"gone\xe9.jpg"), "gone\n.jpg", "gone\x00.jpg"):
        with pytest.raises(ImageError) as caught:
            read_bytes(os.path.join(tmp_path, name))
        assert "gone" in str(caught.value)
        assert str(caught.value).encode().decode().isprintable()


class Answers(BaseHTTPRequestHandler):
    """Bytes for /image.png, and for /503.png and any other name an error."""

    def do_GET(self) -> None:
        status = {"/image.png": 200, "/503.png": 503}.get(self.path, 404)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"remote")

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """A web server on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_web_address_is_read_and_its_errors_are_final_or_may_pass(site: str) -> None:
    pytest.importorskip("aiohttp")
    assert read_bytes(f"{site}/image.png") == b"remote"
    with pytest.raises(ImageError, match=r"No such file: http://127.0.0.1:\d+/gone.png"):
        read_bytes(f"{site}/gone.png", pause_s=0)
    with pytest.raises(TransientError, match="tried 2 times"):
        read_bytes(f"{site}/503.png", attempts=2, pause_s=0)


@pytest.mark.parametrize(
    "url",
    [
        "local:///etc/passwd",
        "simplecache::https://host/a.jpg",
        "simplecache::file:///etc/passwd",
        "file::local:///etc/passwd",
        "webhdfs://host/a.jpg",
        "github://owner:repo@main/a.jpg",
        "ftp://host/a.jpg",
        "memory://a.jpg",
        "zip://a.jpg::http://host/a.zip",
        "s3://bucket/a.jpg::local:///etc/passwd",
        "reference://::s3://bucket/a.json",
        "http+unix://socket/a.jpg",
        "LOCAL:///etc/passwd",
        "carrierpigeon://a/b.jpg",
    ],
)
def test_other_kinds_of_url_are_refused_before_anything_is_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*arguments: object) -> None:
        raise AssertionError(f"fsspec was asked for {arguments}")

    monkeypatch.setattr("fsspec.core.url_to_fs", asked)
    with pytest.raises(ImageError, match=r"Expected a path, or one URL of file, http, .* got .*; correct the manifest"):
        read_bytes(url)
    with pytest.raises(ManifestError, match="Expected as root a path, or one URL of"):
        Manifest.from_samples([Sample("a", "a.jpg")], ("cat",), root=url)


@pytest.mark.parametrize("name", ["a::b.jpg", "local:a.jpg", "c:d::e.jpg"])
def test_a_file_may_have_colons_in_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    (sample,) = Manifest.from_samples([Sample("a", name)], ("cat",), root=tmp_path)
    assert read_bytes(sample.image) == b"content"


def test_a_relative_path_that_holds_a_scheme_stays_below_the_root(tmp_path: Path) -> None:
    (sample,) = Manifest.from_samples([Sample("a", "photos/s3://b.jpg")], ("cat",), root=tmp_path)
    assert sample.image == f"{tmp_path}/photos/s3://b.jpg"


def test_a_file_url_of_another_machine_is_refused() -> None:
    with pytest.raises(ImageError, match="got host 'elsewhere'"):
        read_bytes("file://elsewhere/a.jpg")


@pytest.mark.parametrize("url", ["http://host/a.jpg", "https://host/a.jpg"])
def test_a_missing_reader_package_may_pass_once_its_extra_is_installed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def without_package(url: str) -> None:
        calls.append(url)
        raise ImportError("Install what reads this")

    monkeypatch.setattr("fsspec.core.url_to_fs", without_package)
    words = rf"Cannot read {url}: Install what reads this; .*: pip install 'camaudit\[{EXTRA}\]', then resume"
    with pytest.raises(TransientError, match=words):
        read_bytes(url)
    assert len(calls) == 1


def test_the_extra_that_is_named_is_one_of_the_package() -> None:
    known = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert EXTRA in known["project"]["optional-dependencies"]


def test_missing_files_folders_and_locked_files_are_refused_at_once(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match=r"No such file: .*gone.jpg; check"):
        read_bytes(str(tmp_path / "gone.jpg"))
    with pytest.raises(ImageError, match="Expected a file, got a folder"):
        read_bytes(str(tmp_path))
    refusing = FlakyOpen(9, PermissionError(errno.EACCES, "Permission denied"))
    monkeypatch.setattr("audit.images.reading.open", refusing, raising=False)
    with pytest.raises(ImageError, match="Permission denied: "):
        read_bytes(str(file))
    assert refusing.calls == 1


def test_a_fifo_and_a_device_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (str(tmp_path / "pipe.jpg"), "/dev/zero"):
        with pytest.raises(ImageError, match="Expected a regular file"):
            read_bytes(path)


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    with pytest.raises(ImageError, match=r"Symbolic links form a loop: .*a.jpg"):
        read_bytes(str(tmp_path / "a.jpg"))


def test_passing_errors_are_tried_again_with_doubling_pauses(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("audit.images.reading.time.sleep", pauses.append)
    monkeypatch.setattr(
        "audit.images.reading.open", FlakyOpen(2, OSError(errno.EIO, "Input/output error")), raising=False
    )
    assert read_bytes(str(file), attempts=3, pause_s=0.5) == b"content"
    assert pauses == [0.5, 1.0]


class ServiceUnavailable(Exception):
    status = 503


class Forbidden(Exception):
    status = 403


class EndpointConnectionError(Exception):
    """Named like that of a storage client, and like it no OSError."""


@pytest.mark.parametrize(
    "error",
    [
        *[OSError(code, os.strerror(code)) for code in (errno.EIO, errno.EAGAIN, errno.ESTALE, errno.EBUSY)],
        OSError(errno.ETIMEDOUT, "timed out"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
        ServiceUnavailable("unavailable"),
        EndpointConnectionError("no route"),
        RuntimeError("HTTP 429: slow down"),
    ],
    ids=repr,
)
def test_a_passing_error_that_lasts_is_transient(file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    opened = FlakyOpen(9, error)
    monkeypatch.setattr("audit.images.reading.open", opened, raising=False)
    with pytest.raises(TransientError, match=r"tried 2 times: .*; resume to try again"):
        read_bytes(str(file), attempts=2, pause_s=0)
    assert opened.calls == 2


@pytest.mark.parametrize(
    "error", [Forbidden("no"), OSError(errno.ENAMETOOLONG, "name too long"), KeyError("x")], ids=repr
)
def test_other_errors_are_final(file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    opened = FlakyOpen(9, error)
    monkeypatch.setattr("audit.images.reading.open", opened, raising=False)
    with pytest.raises(ImageError, match="Cannot read"):
        read_bytes(str(file), pause_s=0)
    assert opened.calls == 1


def test_a_number_in_the_files_name_is_not_taken_for_a_server_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "503.jpg"
    path.write_bytes(b"")
    monkeypatch.setattr("audit.images.reading.open", FlakyOpen(9, RuntimeError(f"cannot map {path}")), raising=False)
    with pytest.raises(ImageError):
        read_bytes(str(path), pause_s=0)
