"""The files of --context: read and bounded before a run, kept in its directory as models get them,
so that `resume` needs the originals no more."""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from core.context import Context, ContextImage, render_text
from core.errors import UsageError
from core.text_file import decode_text, read_bytes
from core.wire import write_atomic
from engine.run.rundir import RunDir

MOST_CHARS = 200_000
"""Of all texts together: every executor is sent them."""
MOST_IMAGE_BYTES = 3_750_000
"""Of one image, on any provider: https://platform.claude.com/docs/en/build-with-claude/vision"""
MOST_IMAGES, MOST_IMAGES_BYTES = 8, 12_000_000
MOST_PDF_BYTES = 32 * 1024 * 1024
_LONGEST_NAME = 100
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


@dataclass(frozen=True, slots=True)
class ContextFile:
    """`data` is a text in UTF-8, or an image where there is a `media_type`."""

    name: str
    data: bytes
    media_type: str = ""


def read_context_files(
    paths: Iterable[Path], mask: Callable[[str], str] = lambda text: text
) -> tuple[ContextFile, ...]:
    """What is in them, texts without the secrets that `mask` takes out. Raises UsageError with what
    cannot be used."""
    files = tuple(_read(path, mask) for path in paths)
    chars = sum(len(file.data.decode()) for file in files if not file.media_type)
    if chars > MOST_CHARS:
        raise UsageError(
            f"The files of --context have {chars:,} characters of text; at most {MOST_CHARS:,}.",
            "Give the parts that matter for the request.",
        )
    images = [file for file in files if file.media_type]
    size = sum(len(file.data) for file in images)
    if len(images) > MOST_IMAGES or size > MOST_IMAGES_BYTES:
        raise UsageError(
            f"The files of --context are {len(images)} images of {size:,} bytes; at most"
            f" {MOST_IMAGES} of {MOST_IMAGES_BYTES:,}.",
            "Give fewer or smaller ones.",
        )
    return files


def store_context(run: RunDir, files: Sequence[ContextFile]) -> None:
    """Raises OSError."""
    for number, file in enumerate(files, 1):
        run.context.mkdir(exist_ok=True)
        write_atomic(run.context / f"{number:02}-{file.name}", file.data, durable=True)


def stored_context(run: RunDir) -> tuple[ContextFile, ...]:
    """The files that a run was given. Raises OSError."""
    found = sorted(run.context.glob("[0-9][0-9]-*"))
    return tuple(
        ContextFile(path.name[3:], data := path.read_bytes(), _media_type(data)) for path in found
    )


def build_context(files: Iterable[ContextFile]) -> Context:
    texts, images = list[str](), list[ContextImage]()
    for file in files:
        if file.media_type:
            data = base64.b64encode(file.data).decode()
            images.append(ContextImage(file.name, file.media_type, data))
        else:
            texts.append(render_text(file.name, file.data.decode()))
    return Context("\n".join(texts), tuple(images))


def _read(path: Path, mask: Callable[[str], str]) -> ContextFile:
    try:
        data = read_bytes(path, MOST_PDF_BYTES)
        if media_type := _media_type(data):
            if len(data) > MOST_IMAGE_BYTES:
                raise OSError(0, f"an image may have {MOST_IMAGE_BYTES:,} bytes")
            return ContextFile(_name(path), data, media_type)
        is_pdf = b"%PDF-" in data[:1024]
        text = mask("\n".join(_pages(data)) if is_pdf else decode_text(data))
        if "\0" in text or not text.strip():
            raise OSError(0, "it has no text")
    except OSError as exc:
        raise UsageError(
            f"The context {path} cannot be used: {exc.strerror}.",
            "Give text in UTF-8, a PDF with text, or a PNG, JPEG, GIF or WebP image.",
        ) from exc
    return ContextFile(_name(path, ".txt" if is_pdf else ""), text.encode("utf-8", "replace"))


def _name(path: Path, suffix: str = "") -> str:
    return path.name[-_LONGEST_NAME:] + suffix


def _media_type(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in _IMAGES if data.startswith(begin)), "")


def _pages(data: bytes) -> Iterator[str]:
    """The text of a PDF, page by page, no more than may be given. Raises OSError."""
    from pypdf import PdfReader  # seldom needed
    from pypdf.errors import PyPdfError

    left = MOST_CHARS
    try:
        for page in PdfReader(BytesIO(data)).pages:
            yield (text := page.extract_text())
            if (left := left - len(text)) < 0:
                raise OSError(0, f"it has more than {MOST_CHARS:,} characters of text")
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise OSError(0, f"its text cannot be taken out: {exc}") from exc
