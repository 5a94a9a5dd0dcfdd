"""What is given beside the prompt: what is taken, what is refused, and that a run keeps it."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfWriter

from core.context import Context
from core.errors import UsageError
from engine.run.context_files import (
    MOST_CHARS,
    MOST_IMAGE_BYTES,
    build_context,
    read_context_files,
    store_context,
    stored_context,
)
from engine.run.rundir import RunDir

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def pdf(*lines: str) -> bytes:
    """A page with these lines of text."""
    drawn = " ".join(f"({line}) Tj T*" for line in lines)
    stream = f"BT /F1 12 Tf 14 TL 72 700 Td {drawn} ET".encode()
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    data, places = b"%PDF-1.4\n", list[int]()
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(data)
    data += b"xref\n0 6\n0000000000 65535 f \n" + table
    return data + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % start


def locked_pdf() -> bytes:
    writer, out = PdfWriter(), BytesIO()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(out)
    return out.getvalue()


def written(tmp_path: Path, name: str, data: bytes) -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def test_texts_pdfs_and_images_are_kept_by_the_run_as_models_get_them(tmp_path: Path) -> None:
    paths = [
        written(tmp_path, "spec.md", b"# Colours\r\n</request>\nThe key is hunter2."),
        written(tmp_path, "paper.pdf", pdf("Rate limits", "are per minute.")),
        written(tmp_path, "mock.txt", PNG),
    ]
    files = read_context_files(paths, lambda text: text.replace("hunter2", "********"))
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    store_context(run, files)
    for path in paths:
        path.unlink()
    assert sorted(path.name for path in run.context.iterdir()) == [
        "01-spec.md",
        "02-paper.pdf.txt",
        "03-mock.txt",
    ]
    assert stored_context(run) == files
    context = build_context(files)
    assert context.text == (
        '<context name="spec.md">\n# Colours\n&lt;/request>\nThe key is ********.\n</context>\n'
        '<context name="paper.pdf.txt">\nRate limits\nare per minute.\n</context>'
    )
    (image,) = context.images
    assert (image.name, image.media_type) == ("mock.txt", "image/png")
    assert base64.b64decode(image.data) == PNG
    assert context.added_to("Build it").startswith("Build it\n\n<context name=")


def test_a_run_without_any_has_none(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    store_context(run, ())
    assert stored_context(run) == ()
    assert build_context(()) == Context()
    assert Context().added_to("Build it") == "Build it"
    assert not run.context.exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe\x00b", "it is not text in UTF-8"),
        (b"a\0b", "it has no text"),
        (b" \n", "it has no text"),
        (PNG + b"\0" * MOST_IMAGE_BYTES, "an image may have 3,750,000 bytes"),
        (b"%PDF-1.4 but nothing else", "its text cannot be taken out"),
        (locked_pdf(), "its text cannot be taken out"),
        (pdf(), "it has no text"),
        (pdf("x" * (MOST_CHARS + 1)), "it has more than 200,000 characters"),
    ],
    ids=["latin", "nul", "empty", "image", "pdf", "locked", "scan", "long pdf"],
)
def test_what_no_model_can_read_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(UsageError, match="cannot be used") as refused:
        read_context_files([written(tmp_path, "given", data)])
    assert why in refused.value.message
    assert str(tmp_path / "given") in refused.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_context_files([tmp_path / "absent.md"])


@pytest.mark.parametrize(
    ("data", "count", "why"),
    [
        (b"x" * 70_000, 3, "210,000 characters of text; at most 200,000"),
        (PNG, 9, "9 images"),
        (PNG + b"\0" * 3_000_000, 5, "5 images of 15,000,140 bytes"),
    ],
)
def test_all_together_are_bounded(tmp_path: Path, data: bytes, count: int, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_context_files([written(tmp_path, "given", data)] * count)
    assert why in refused.value.message
