"""From files named on a command line to a content and its bytes, and every way that can fail."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from mailer.content import Content, ContentFiles, Part, read_content
from mailer.content import source as source_module
from mailer.content.media_type import extension_of, media_type_of
from mailer.errors import InputError

PNG = b"\x89PNG\r\n\x1a\n123"


def no_stdin() -> bytes:
    raise AssertionError("standard input was read")


def files(**changes: Any) -> ContentFiles:
    return ContentFiles(**{"sender": "News <news@example.com>", "subject": "Hi", **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.txt").write_bytes("\ufeffHi {{ name }},\r\nGrüße\rEnd\n".encode())
    (tmp_path / "hello.html").write_text('<p>{{ name }}</p><img src="cid:logo">\n', "utf-8")
    (tmp_path / "logo.png").write_bytes(PNG)
    (tmp_path / "Bericht über 2026.pdf").write_bytes(b"%PDF-")
    return tmp_path


def test_everything_named_is_read(folder: Path) -> None:
    content, blobs = read_content(
        files(
            text=folder / "hello.txt",
            html=str(folder / "hello.html"),
            attach=(folder / "Bericht über 2026.pdf",),
            inline=(("logo", folder / "logo.png"),),
            headers=(("X-A", "{{ name }}"),),
            reply_to="help@example.com",
            to_name="{{ name }}",
            variables={"shop": "x"},
            list_name="news",
        ),
        no_stdin,
    )
    digests = [hashlib.sha256(data).hexdigest() for data in (b"%PDF-", PNG)]
    assert content == Content(
        sender="News <news@example.com>",
        subject="Hi",
        text="Hi {{ name }},\nGrüße\nEnd\n",
        html='<p>{{ name }}</p><img src="cid:logo">\n',
        reply_to="help@example.com",
        to_name="{{ name }}",
        headers=(("X-A", "{{ name }}"),),
        variables={"shop": "x"},
        attachments=(Part("Bericht über 2026.pdf", "application/pdf", digests[0], 5),),
        inline=(Part("logo", "image/png", digests[1], len(PNG)),),
        list_name="news",
    )
    assert blobs == {digests[0]: b"%PDF-", digests[1]: PNG}


def test_a_dash_is_standard_input() -> None:
    content, blobs = read_content(files(text="-"), lambda: b"Hi\r\n")
    assert (content.text, content.html, blobs) == ("Hi\n", None, {})
    content, _ = read_content(files(html="-"), lambda: b"<p>Hi</p>")
    assert (content.text, content.html) == (None, "<p>Hi</p>")


def test_the_same_files_make_the_same_digest_wherever_they_lie(folder: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "hello.txt").write_bytes("Hi {{ name }},\nGrüße\nEnd\n".encode())
    first, _ = read_content(files(text=folder / "hello.txt"), no_stdin)
    second, _ = read_content(files(text=other / "hello.txt"), no_stdin)
    assert first.digest == second.digest


@pytest.mark.parametrize(
    ("changes", "sentence", "hint"),
    [
        ({"text": "no.txt"}, "--text no.txt: there is no such file.", ""),
        ({"html": "."}, "--html .: it is a directory.", "Name a file."),
        ({"attach": (Path("no.pdf"),)}, "--attach no.pdf: there is no such file.", ""),
        ({"inline": (("logo", Path("no.png")),)}, "--inline no.png: there is no such file.", ""),
        ({"text": "latin1.txt"}, "--text latin1.txt: it is not UTF-8 (line 2).", "Save it as UTF-8."),
        ({"text": "empty.txt"}, "--text empty.txt: it is empty.", ""),
        ({"text": "blank.txt"}, "--text blank.txt: it is empty.", ""),
        ({"text": "broken.txt"}, "--text broken.txt, line 3: ", ""),
        ({"html": "filter.html"}, "--html filter.html, line 1: there is no filter uper.", "Did you mean `upper`?"),
        ({"text": "a\0b"}, "--text 'a\\x00b': it cannot be read: embedded null byte.", ""),
        ({"text": "-", "html": "-"}, "--text - and --html - both want standard input.", "Only one option"),
        ({"inline": (("my logo", Path("logo.png")),)}, "--inline 'my logo': expected a name of letters", "cid:logo"),
        ({"inline": (("logo", Path("logo.png")),)}, "--inline logo: without --html nothing can show it.", "--attach"),
        (
            {"html": "hello.html", "inline": (("a", Path("logo.png")), ("a", Path("logo.png")))},
            "--inline a: there are two of that name.",
            "",
        ),
        (
            {"html": "hello.html", "inline": (("lago", Path("logo.png")),)},
            "--html shows cid:logo, and nothing is given under that name.",
            "Add --inline logo=FILE.",
        ),
        ({"subject": "a\udcff"}, "--subject holds bytes that are not UTF-8.", ""),
        ({"sender": "a\udcff"}, "--from holds bytes that are not UTF-8.", ""),
        ({"headers": (("X-A", "\udcff"),)}, "--header 'X-A' holds bytes that are not UTF-8.", ""),
        ({"variables": {"a": "\udcff"}}, "--set 'a' holds bytes that are not UTF-8.", ""),
        ({"variables": {"today": "x"}}, "--set today: in every template today has a meaning already.", "another name"),
        ({"variables": {"a b": "x"}}, "--set 'a b': a template cannot ask for a name like that.", "make a name"),
        ({"attach": (Path("a\nb"),)}, "--attach 'a\\nb': recipients could not read its name.", "Rename it."),
    ],
)
def test_what_cannot_be_used_is_named_with_its_option(
    changes: Any, sentence: str, hint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("latin1.txt").write_bytes("Hi\nGrüße\n".encode("latin-1"))
    Path("empty.txt").write_bytes(b"")
    Path("blank.txt").write_bytes(b" \r\n\n")
    Path("broken.txt").write_text("a\nb\n{% if %}\n")
    Path("filter.html").write_text("{{ a | uper }}")
    with pytest.raises(InputError) as raised:
        read_content(files(**changes), lambda: b"")
    assert raised.value.message.startswith(sentence)
    assert hint in raised.value.hint


def test_a_file_that_may_not_be_read_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything: the kernel's answer is played."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError) as raised:
        read_content(files(text=folder / "hello.txt"), no_stdin)
    assert raised.value.message == f"--text {str(folder / 'hello.txt')!r}: it cannot be read: Permission denied."


def test_files_that_nobody_would_take_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "LARGEST_FILES_BYTES", 8)
    with pytest.raises(InputError, match=r"--attach .*logo.png: it has more than 8 bytes"):
        read_content(files(attach=(folder / "logo.png",)), no_stdin)
    small = folder / "Bericht über 2026.pdf"
    with pytest.raises(InputError, match="the files of the message have 10 bytes together; at most 8 can be sent"):
        read_content(files(attach=(small, small)), no_stdin)
    monkeypatch.setattr(source_module, "LARGEST_TEXT_BYTES", 3)
    with pytest.raises(InputError, match="more than 3 bytes"):
        read_content(files(text=folder / "hello.txt"), no_stdin)
    with pytest.raises(InputError, match="it has 4 bytes; a text may have 3"):
        read_content(files(text="-"), lambda: b"four")


def test_an_edited_content_keeps_what_is_not_named_again(folder: Path) -> None:
    kept, _ = read_content(files(html=folder / "hello.html", inline=(("logo", folder / "logo.png"),)), no_stdin)
    content, _ = read_content(files(html=folder / "hello.html", keeps=kept), no_stdin)
    assert content.inline == ()
    content, _ = read_content(files(inline=(("logo", folder / "logo.png"),), keeps=kept), no_stdin)
    assert content.html is None


@pytest.mark.parametrize(
    ("name", "data", "mime_type"),
    [
        ("a.pdf", b"", "application/pdf"),
        ("a.PNG", b"", "image/png"),
        ("a.jpg", b"", "image/jpeg"),
        ("a.docx", b"", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.webp", b"", "image/webp"),
        ("a.csv", b"", "text/csv"),
        ("a.ics", b"", "text/calendar"),
        ("a.tar.gz", b"", "application/gzip"),
        ("a.tar.xz", b"", "application/octet-stream"),
        ("a.eml", b"", "application/octet-stream"),
        ("a.unknown", b"", "application/octet-stream"),
        ("noextension", PNG, "image/png"),
        ("noextension", b"GIF89a..", "image/gif"),
        ("noextension", b"\xff\xd8\xff..", "image/jpeg"),
        ("noextension", b"%PDF-1.7", "application/pdf"),
        ("noextension", b"words", "application/octet-stream"),
        ("data:a.png", b"", "image/png"),
    ],
)
def test_the_media_type_follows_from_name_and_bytes(name: str, data: bytes, mime_type: str) -> None:
    assert media_type_of(name, data) == mime_type


@pytest.mark.parametrize(
    ("mime_type", "extension"),
    [("image/jpeg", ".jpg"), ("image/png", ".png"), ("image/webp", ".webp"), ("x/y", ""), ("text/plain", ".txt")],
)
def test_a_media_type_has_its_usual_extension(mime_type: str, extension: str) -> None:
    assert extension_of(mime_type) == extension
