"""Reading images: a path or URL to bytes, any common image to upright 8-bit RGB.

The content decides the kind, never the file's name. An image is turned upright by its EXIF orientation (all eight)
before anything else sees it. How each kind of pixel becomes RGB:

==================== ===================================================================================================
RGB, 48-bit RGB      as stored; of 16 bits a channel the high byte
1-bit, 8-bit grey    the same value in all three channels
palette              the colour of each index
alpha, transparency  laid over white, as a viewer on a white page shows it (also palettes, grey and colour keys)
CMYK, YCCK, YCbCr    Pillow's plain conversion; the inverted CMYK of Adobe JPEGs is turned round
16-bit grey          65535 becomes 255, rounded; a transparent level becomes white
32-bit grey          0 to 65535 as 16-bit grey; other values are stretched, the least to black, the greatest to white
floating-point grey  the first of 0 to 1, 0 to 255, 0 to 65535 that holds all values becomes 0 to 255; else stretched
animation, pages     the first frame
==================== ===================================================================================================

Colour profiles (ICC) are ignored: the numbers in the file are taken as sRGB.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from audit.errors import AuditError, ImageError, TransientError
from audit.images.locations import in_bucket, is_remote, location_fault, read_remote
from audit.wording import one_line

MAX_PIXELS = 100_000_000
"""Largest image that is decoded, in pixels."""

MAX_SIDE = 30_000
"""Longest side of an image that is decoded, in pixels: some decoders take seconds and gigabytes for long, thin ones."""

# Pillow only warns up to twice its own limit, and that limit and Python's warning filters belong to the whole process,
# so no decoding thread may touch them. It is switched off once, here; `_open` refuses by size before allocating pixels.
Image.MAX_IMAGE_PIXELS = None

# A closed list: the other decoders of Pillow run programs (EPS) or decode an image within the image (ICO, ICNS), whose
# size no header check here would see.
_KINDS = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "JPEG2000", "AVIF")

_PASSING_ERRNOS = {
    errno.EIO,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EMFILE,
    errno.ENFILE,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
}
_PASSING_STATUS = {429, 500, 502, 503, 504}
_PASSING_TEXT = re.compile(r"\b(429|500|502|503|504)\b")
# Clients of object stores have errors of their own that derive from no built-in one.
_PASSING_NAME = re.compile("Connect|Disconnect|Timeout|Payload")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_JPEG_END = b"\xff\xd9"
_SIGNATURES = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG", "PNG"),
    (rb"GIF8", "GIF"),
    (rb"II\*\0|MM\0\*", "TIFF"),
    (rb"RIFF.{4}WEBP", "WEBP"),
    (rb"BM", "BMP"),
    (rb"\s*(<!doctype html|<html|<head|<body)", "HTML"),
    (rb"\s*(<\?xml|<svg)", "XML or SVG"),
    (rb"%PDF", "PDF"),
    (rb"%!PS", "PostScript"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (rb"\s*[{\[]", "JSON"),
)


def read_bytes(path: str, attempts: int = 3, pause_s: float = 0.2) -> bytes:
    """The content of a local path, a `file:` URL (RFC 8089, any bytes percent-encoded) or a URL of `locations.REMOTE`.

    Failures that may pass are tried `attempts` times in all, pausing `pause_s` seconds, then twice that, and so on.

    Raises:
        ImageError: no such file, a folder, a FIFO or device, permission denied, a loop of links, another kind of URL.
        TransientError: I/O errors, timeouts, 429 and 50x answers that outlast the attempts; the package that reads
            this kind of URL is not installed.
    """
    if attempts < 1:
        raise ValueError(f"Expected `attempts` of at least 1, got {attempts}")
    if fault := location_fault(path):
        raise ImageError(f"Expected {fault}; correct the manifest or copy the file")
    attempts = 1 if in_bucket(path) else attempts  # its client asks again by itself, for three minutes
    failure: Exception | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            return _read_once(path)
        except AuditError:
            raise
        except Exception as error:  # what reads `http` raises its own
            if not _may_pass(error, path):
                raise _refusal(error, path) from None
            failure = error
    tried = f"tried {attempts} times: {_reason(failure)}" if attempts > 1 else _reason(failure)
    raise TransientError(f"Cannot read {one_line(path)}, {tried}; resume to try again") from failure


def decode_image(data: bytes, name: str, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE) -> NDArray[np.uint8]:
    """The image as upright RGB: uint8 [H, W, 3], read-only. The module docstring has the rule for each kind of pixel.

    Raises:
        ImageError: `data` is no image, is damaged or cut short, or has more than `max_pixels` or a side longer than
            `max_side`; the message has `name`, and nothing of what `data` holds.
    """
    with _named_errors(data, name, _KINDS):
        return _rgb(open_upright(data, name, max_pixels, max_side))


def plain_jpeg(data: bytes, max_pixels: int = MAX_PIXELS, max_side: int = MAX_SIDE) -> int | None:
    """EXIF orientation, 1 to 8, of a whole JPEG of three colours within the limits; None of anything else.

    Other decoders than Pillow's are given these alone: of a JPEG that is cut short they may make a picture, and what is
    coded as RGB (Adobe's transform 0) they may take for YCbCr.
    """
    if not data.startswith(b"\xff\xd8") or not data.rstrip(b"\0").endswith(_JPEG_END):
        return None
    try:
        image = _open(data, "", max_pixels, max_side, ("JPEG",))
    except Exception:  # decoders raise nearly anything on damaged data; `decode_image` says what is wrong
        return None
    coded_as_rgb = image.info.get("adobe_transform") == 0
    return _orientation(image, data) if image.mode == "RGB" and not coded_as_rgb else None


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """An image [H, W, 3] as stored, turned by its EXIF orientation."""
    turn = _TURNS.get(orientation)
    return image if turn is None else np.asarray(Image.fromarray(image).transpose(turn))


def difference_hash(image: NDArray[np.uint8]) -> int:
    """64 bits that copies nearly share: whether brightness rises to the right, on 8 x 8 places of an image [H, W, 3].

    `audit.images.copies` says which are those of copies. A signed number, for tables.

    >>> difference_hash(np.zeros((20, 30, 3), np.uint8))
    0
    """
    grey = np.asarray(Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return int(np.packbits(grey[:, 1:] > grey[:, :-1]).view(">i8")[0])


def open_upright(
    data: bytes,
    name: str,
    max_pixels: int = MAX_PIXELS,
    max_side: int = MAX_SIDE,
    kinds: tuple[str, ...] = _KINDS,
) -> Image.Image:
    """The image decoded and upright, in its own pixel mode. `kinds` are the formats allowed, in Pillow's names.

    Raises:
        ImageError: as `decode_image`.
    """
    with _named_errors(data, name, kinds):
        image = _open(data, name, max_pixels, max_side, kinds)
        turn = _TURNS.get(_orientation(image, data))
        image.load()
        return image if turn is None else image.transpose(turn)


def _read_once(path: str) -> bytes:
    if is_remote(path):
        return read_remote(path)
    local = local_path(path)
    mode = os.stat(local).st_mode
    if stat.S_ISDIR(mode):
        raise ImageError(f"Expected a file, got a folder: {one_line(path)}")
    if not stat.S_ISREG(mode):  # opening a FIFO would wait for its writer for ever
        raise ImageError(f"Expected a regular file, got a FIFO, socket or device: {one_line(path)}")
    with open(local, "rb") as file:
        return file.read()


def local_path(path: str) -> str:
    """The path of a `file:` URL (RFC 8089) of this machine; any other path or URL as it is.

    Raises:
        ImageError: it is of another machine.
    """
    if not path.startswith("file:/"):
        return path
    host, slash, rest = path[len("file://") :].partition("/") if path.startswith("file://") else ("", "/", path[6:])
    if host not in ("", "localhost"):
        raise ImageError(f"Expected a `file:` URL of this machine, got host {host!r} in {one_line(path)}")
    return os.fsdecode(unquote_to_bytes(slash + rest))


def _may_pass(error: Exception, path: str) -> bool:
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return False
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    code, status = getattr(error, "errno", None), getattr(error, "status", None)
    if code is not None or status is not None:
        return code in _PASSING_ERRNOS or status in _PASSING_STATUS
    if any(_PASSING_NAME.search(kind.__name__) for kind in type(error).__mro__):
        return True
    # Only the error's own words count: a file may well be called 503.jpg.
    return _PASSING_TEXT.search(str(error).replace(path.partition("://")[2] or path, "")) is not None


def _refusal(error: Exception, path: str) -> ImageError:
    shown = one_line(path)
    if isinstance(error, FileNotFoundError):
        what = "" if is_remote(path) else ", and that its disk is mounted"
        return ImageError(f"No such file: {shown}; check the path{what}")
    if isinstance(error, PermissionError):
        advice = one_line(error.strerror) if is_remote(path) else "make it readable"
        return ImageError(f"Permission denied: {shown}; {advice}")
    if isinstance(error, IsADirectoryError):
        return ImageError(f"Expected a file, got a folder: {shown}")
    if getattr(error, "errno", None) == errno.ELOOP:
        return ImageError(f"Symbolic links form a loop: {shown}; link it to a file")
    return ImageError(f"Cannot read {shown}: {_reason(error)}")


def _reason(error: Exception | None) -> str:
    return one_line(getattr(error, "strerror", None) or error) or type(error).__name__


@contextmanager
def _named_errors(data: bytes, name: str, kinds: tuple[str, ...]) -> Iterator[None]:
    """Turn whatever a decoder raises into one ImageError that names the image."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        expected = f"Expected an image ({', '.join(kinds)})"
        raise ImageError(f"{expected}: {one_line(name)} {_looks(data, kinds)}; replace it or leave it out") from None
    except MemoryError:
        raise ImageError(f"Not enough memory to decode {one_line(name)}; scale it down or leave it out") from None
    except Exception as error:  # decoders raise nearly anything on damaged data
        words = _own_words(error)
        raise ImageError(f"Cannot decode {one_line(name)}: {words}; replace it or leave it out") from None


def _own_words(error: Exception) -> str:
    """What a decoder says, up to where it may quote the data: that may be any file of this machine."""
    said = next(iter(error.args), "")
    text = said.decode(errors="replace") if isinstance(said, bytes) else _reason(error)
    return one_line(re.split("[(:'\"]", text)[0].strip()) or type(error).__name__


def _open(data: bytes, name: str, max_pixels: int, max_side: int, kinds: tuple[str, ...]) -> Image.Image:
    """Read the header alone, and refuse by size."""
    image = Image.open(BytesIO(data), formats=kinds)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"Expected at most {max_pixels} pixels, got {width} x {height} (width x height) in {one_line(name)}; "
            "scale it down or leave it out"
        )
    if max(width, height) > max_side:
        raise ImageError(
            f"Expected sides of at most {max_side} pixels, got {width} x {height} (width x height) in "
            f"{one_line(name)}; cut it into parts or leave it out"
        )
    return image


def _orientation(image: Image.Image, data: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    if image.format == "TIFF":
        return 1  # Pillow itself turns these while decoding
    try:
        # Pillow decodes a PNG to look for EXIF behind its pixels: let it do so only where there is some to be found.
        late = image.format == "PNG" and b"eXIf" in data
        exif = image.getexif() if late or image.format != "PNG" else Image.Image.getexif(image)
        value = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF beside a good picture: viewers show it as stored
        return 1
    return value if value in _TURNS else 1


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.repeat(_grey(image)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = _over_white(image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _over_white(image: Image.Image) -> Image.Image:
    pixels = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels)


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    """Deep grey as uint8 [H, W]."""
    levels = np.asarray(image).astype(np.float64)
    black, white = _black_and_white(levels, (1, 255, 65535) if image.mode == "F" else (65535,))
    grey: NDArray[np.uint8] = np.rint((levels - black) * (255 / (white - black))).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        grey[levels == key] = 255
    return grey


def _black_and_white(levels: NDArray[np.float64], scales: tuple[int, ...]) -> tuple[float, float]:
    """The levels shown as 0 and as 255: the first scale that holds all levels, else their own range."""
    if not np.isfinite(levels).all():
        raise ValueError("it holds pixels that are not finite numbers")
    low, high = float(levels.min()), float(levels.max())
    for scale in scales:
        if low >= 0 and high <= scale:
            return 0.0, float(scale)
    return low, high if high > low else low + 1


def _looks(data: bytes, kinds: tuple[str, ...]) -> str:
    """What undecodable data seems to be, as the end of a sentence."""
    if not data:
        return "is empty (0 bytes)"
    for pattern, kind in _SIGNATURES:
        if re.match(pattern, data, re.IGNORECASE | re.DOTALL):
            return f"is a damaged {kind}" if kind in kinds else f"looks like {kind}"
    return "is none"
