"""Which encoding a file of recipients has: found where there is evidence, asked where there is not."""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content import Recipient, open_recipients
from mailer.content.recipient_encoding import find_encoding
from mailer.errors import InputError

CHINESE = (
    "address,name,city\na@qq.com,王小明,北京\nb@qq.com,李娜,上海\nc@163.com,张伟,广州\nd@163.com,刘洋，经理,深圳\n"
)
GERMAN = "address,name\na@web.de,Jürgen Müller\nb@gmx.de,Stefan Groß\nc@web.de,Björn aus Köln\n"
FRENCH = "address;name\na@free.fr;Hélène Dupré\nb@free.fr;François – «Besançon»\n"


def encoding_of(data: bytes) -> str:
    stream = io.BytesIO(b"?" + data)
    stream.seek(1)
    found = find_encoding(stream, "list.csv")
    assert stream.tell() == 1
    return found


def names(path: Path, encoding: str | None = None) -> list[str]:
    with open_recipients(path, encoding=encoding) as file:
        return [row.fields["name"] for row in file if isinstance(row, Recipient)]


@pytest.mark.parametrize(
    ("text", "written_in", "found"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8-sig"),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (CHINESE, "utf-16-be", "utf-16-be"),
        (CHINESE, "utf-32", "utf-32"),
        (CHINESE, "gbk", "gb18030"),
        (CHINESE.replace("王小明", "王小䶮"), "gb18030", "gb18030"),
        (GERMAN, "latin-1", "cp1252"),
        (FRENCH, "cp1252", "cp1252"),
        ("address\na@b.example\n", "ascii", "utf-8"),
    ],
)
def test_an_encoding_with_evidence_is_found(text: str, written_in: str, found: str) -> None:
    data = text.encode(written_in)
    assert encoding_of(data) == found
    assert data.decode(found) == text


@pytest.mark.parametrize(
    ("text", "written_in", "looks_like"),
    [
        ("a@b.example,田中太郎,東京\nb@c.example,やまだ,京都\n", "shift_jis", "It may be cp932. "),
        ("a@b.example,王小明,臺北\nb@c.example,張偉,高雄\nc@d.example,劉洋,臺中\n", "big5", "It may be big5. "),
        ("a@b.example,김민수,서울\nb@c.example,이영희,부산\nc@d.example,박지성,대구\n", "euc_kr", "It may be cp949. "),
        (
            "a@b.example,Иван Петров,Москва\nb@c.example,Анна Смирнова,Казань\nc@d.example,Ольга,Пермь\n",
            "cp1251",
            "It may be cp1251. ",
        ),
        ("a@b.example,Łukasz Wójcik,Łódź\nb@c.example,Zofia Dąbrowska,Kraków\n", "cp1250", ""),
        ("a@b.example,Jiří Dvořák,Plzeň\nb@c.example,Tomáš Černý,Brno\n", "cp1250", ""),
        ("a@b.example,Jiří Dvořák,Plzeň\nb@c.example,Zdeněk,Brno\n", "cp1250", ""),
        ("a@b.example,Erdős Pál,Győr\nb@c.example,Kovács Tünde,Szűcs\n", "cp1250", ""),
        ("a@b.example,Ayşe Yılmaz,İstanbul\nb@c.example,Mehmet Şahin,Muğla\n", "cp1254", ""),
    ],
)
def test_names_in_the_wrong_letters_are_worse_than_a_question(text: str, written_in: str, looks_like: str) -> None:
    with pytest.raises(InputError) as raised:
        encoding_of(text.encode(written_in))
    assert raised.value.message == "list.csv: it is not UTF-8, and its encoding is not clear."
    assert raised.value.hint.startswith(looks_like + "--encoding names it, such as gb18030")


SYLLABLES = {
    "euc_kr": "김이박최정강조윤장임한오서신권황안송류홍민수영희지성준호현우서연하은재훈미경숙진",
    "big5": "王李張劉陳楊黃趙吳周徐孫馬朱胡郭何高林羅鄭梁謝宋唐許韓馮鄧曹",
    "shift_jis": "田中鈴木佐藤高橋伊渡辺山本村小林加太郎花子健一美咲翔輔のさやまだ",
    "cp1251": "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕ",
}


@pytest.mark.parametrize("encoding", SYLLABLES)
def test_random_names_in_another_encoding_are_never_taken_for_chinese(encoding: str) -> None:
    random = Random(20261124)
    for _ in range(100):
        rows = ["".join(random.choices(SYLLABLES[encoding], k=random.randint(2, 4))) for _ in range(6)]
        data = "".join(f"u{at}@b.example,{name}\n" for at, name in enumerate(rows)).encode(encoding)
        with pytest.raises(InputError):
            encoding_of(data)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1))
def test_what_is_valid_utf_8_is_utf_8(text: str) -> None:
    data = text.encode()
    if not data.startswith((codecs.BOM_UTF16_LE, b"PK\x03\x04", b"%PDF-", b"\x1f\x8b")):
        assert encoding_of(data) == "utf-8"


def test_the_whole_file_is_looked_at(tmp_path: Path) -> None:
    """One name in Latin-1 behind a megabyte of ASCII, and one cut in two by a read."""
    path = tmp_path / "list.csv"
    rows = "".join(f"u{at}@b.example,Ann\n" for at in range(60_000))
    path.write_bytes(b"address,name\n" + rows.encode() + "x@b.example,Jürgen\n".encode("latin-1"))
    assert path.stat().st_size > 1_048_576
    assert names(path)[-1] == "Jürgen"
    path.write_bytes(b"address,name\n" + b"a" * (1_048_576 - 14) + "ü@b.example,Zoë\n".encode())
    with open_recipients(path) as file:
        assert file.encoding == "utf-8"


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes("address,name\na@b.example,Łukasz\n".encode("cp1250"))
    assert names(path, "cp1250") == ["Łukasz"]
    path.write_bytes("\ufeffaddress,name\na@b.example,Łukasz\n".encode())
    assert names(path, "UTF-8") == ["Łukasz"]


@pytest.mark.parametrize("name", ["klingon", "base64", "utf-7", "idna", "undefined", "unicode_escape", "a\0b"])
def test_what_is_no_encoding_of_files_cannot_be_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--encoding"):
        open_recipients(tmp_path / "list.csv", encoding=name)


def test_a_file_that_is_not_in_the_encoding_named_says_where_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"address,name\na@b.example,Z\xff\n")
    with pytest.raises(InputError) as raised:
        names(path, "utf-8")
    assert raised.value.message == f"--recipients {path}: at its beginning it is not utf-8."
    rows = "".join(f"u{at}@b.example,Ann\n" for at in range(2_000))
    path.write_bytes(b"address,name\n" + rows.encode() + b"a@b.example,Z\xff\n")
    with pytest.raises(InputError, match=r"behind row [\d,]+ it is not utf-8\."):
        names(path, "utf-8")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            b"PK\x03\x04\x14\0\x06\0\x08\0[Content_Types].xml",
            "it is a spreadsheet. XLSX comes in a later version; save as CSV.",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100,
            "it is a spreadsheet. XLSX comes in a later version; save as CSV.",
        ),
        (b"PK\x03\x04\x14\0\0\0list.csv", "it is a ZIP archive."),
        (b"%PDF-1.7\n", "it is a PDF, no list of recipients."),
        (b"\x1f\x8b\x08\0", "it is compressed (gzip), no list of recipients."),
        (b"\x89PNG\r\n\x1a\n", "it is an image, no list of recipients."),
        (b"address\n\0\0\0\1\2\3abc", "it is no text: it holds zero bytes."),
    ],
)
def test_other_kinds_of_file_are_called_by_their_names(data: bytes, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        encoding_of(data)
    assert raised.value.message == f"list.csv: {sentence}"
