"""Bytes of files → lines of text, and what is no text."""

from __future__ import annotations

import pytest

from nlp_rnn.data.lines import lines_of
from nlp_rnn.errors import InputError


def lines_in(folder, content):
    (folder / "data.csv").write_bytes(content)
    return lines_of(str(folder / "data.csv"), "data.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "data.csv is a picture: give a text"),
        (b"SQLite format 3\0\x10\0\x01\x01", "data.csv is a SQLite database: export the table as CSV"),
        (b"RIFF$\x0f\0\0WAVEfmt ", "data.csv is a recording or a video: recordings are for the task speech"),
        (b"PAR1\x15\x04\x15\xf0\x01", r"data.csv is a Parquet file: give it a name that ends in .parquet"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "data.csv is a PDF: save its text"),
        (b"text,label\na,b\n\x80\x04\x95\0\0,c\n", "data.csv is no text: line 3 holds other bytes"),
        ("text,label\nna\u00efve,b\n".encode("latin-1"), "line 2: byte 3 is not UTF-8; convert the file"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        list(lines_in(tmp_path, content))


@pytest.mark.parametrize("begin", ["GIF89a", "RIFF", "%PDF-1.4", "PAR1 \u00e9", "BZh91AY&SY"])
def test_a_text_may_begin_as_other_files_do(tmp_path, begin):
    text = f"{begin},text,label\n1,good,pos\n"
    assert "".join(lines_in(tmp_path, text.encode())) == text
