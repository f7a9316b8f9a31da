"""Mail: what programs write to MBOX files, and what is broken in them and in messages."""

from __future__ import annotations

import io
import mailbox
from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage
from pathlib import Path

import pytest

from ml_assets.documents.formats import mail
from ml_assets.documents.formats.rows import Columns, Row, columns_from
from ml_assets.errors import SourceError

COLUMNS = columns_from({})


def rows(content: bytes, columns: Columns = COLUMNS) -> list[Row | str]:
    return [row for _, row in mail.read_mbox(io.BytesIO(content), "x.mbox", columns)]


def row(content: bytes) -> Row:
    (found,) = rows(b"From me Thu Jan  1 00:00:00 2026\n" + content)
    assert not isinstance(found, str)
    return found


def test_what_the_standard_library_writes(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "x.mbox")
    first, second, third = EmailMessage(), EmailMessage(), EmailMessage()
    first["Subject"], first["From"], first["To"] = "Grüße", "Zoë <z@b.c>", "x@y.z"
    first["Message-ID"], first["Date"] = "<1@x>", "Mon, 05 Jan 2026 10:00:00 +0200"
    first.set_content("Hello\n\nFrom here to there\nü")
    first.add_attachment(b"PDF", maintype="application", subtype="pdf", filename="a.pdf")
    first.add_attachment("no text of the mail", filename="notes.txt")
    second["Message-ID"], second["In-Reply-To"] = "<2@x>", "<1@x>"
    second.set_content("Plain words")
    second.add_alternative("<p>HTML words</p>", subtype="html")
    third["Message-ID"], third["References"] = "<3@x>", "<1@x> <2@x>"
    third.set_content("<style>p {}</style><p>One<p>Two", subtype="html")
    for message in (first, second, third):
        box.add(message)
    box.close()
    read = rows((tmp_path / "x.mbox").read_bytes())
    zone = timezone(timedelta(hours=2))
    assert [
        (row["id"], row["group"], str(row["text"]).strip())
        for row in read
        if not isinstance(row, str)
    ] == [
        ("<1@x>", "<1@x>", "Hello\n\nFrom here to there\nü"),
        ("<2@x>", "<1@x>", "Plain words"),
        ("<3@x>", "<1@x>", "One\n\nTwo"),
    ]
    assert isinstance(read[0], dict)
    assert (read[0]["title"], read[0]["from"], read[0]["to"]) == ("Grüße", "Zoë <z@b.c>", "x@y.z")
    assert read[0]["created_at"] == datetime(2026, 1, 5, 10, tzinfo=zone)


def test_a_line_within_a_message_begins_no_other() -> None:
    first, second = rows(
        b"From a\r\nSubject: x\r\n\r\nWords\r\nFrom behind a line\r\n>From escaped\r\n\r\n"
        b"From b\r\n\r\nNext\r\n"
    )
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert str(first["text"]).split() == ["Words", "From", "behind", "a", "line", "From", "escaped"]
    assert str(second["text"]).strip() == "Next"
    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    ("header", "column", "value"),
    [
        (b"Subject: =?utf-8?q?a=C3=BC?= =?utf-8?q?b?=", "title", "aüb"),
        (b"Subject: =?nosuch?q?x=FF?= and =?latin1?q?caf=E9?=", "title", "xÿ and café"),
        (b"Subject: =?iso-2022-jp?b?GyRCMnE1RBsoQg==?=", "title", "会議"),
        (b"Subject: =?utf-8?b?A?=", "title", "=?utf-8?b?A?="),
        (b"Subject: two\n lines", "title", "two lines"),
        (
            b"Date: Mon, 05 Jan 2026 10:00:00 GMT",
            "created_at",
            datetime(2026, 1, 5, 10, tzinfo=UTC),
        ),
        (b"Date: yesterday", "created_at", None),
        (b"Date: Mon, 99 Jan 2026 10:00:00 +9999", "created_at", None),
        (b"Message-ID: <[]>", "id", "<[]>"),
        (b"From: \xff\xfe <", "to", ""),
    ],
)
def test_headers_as_they_come(header: bytes, column: str, value: object) -> None:
    assert row(header + b"\n\nText\n")[column] == value


def test_a_message_without_an_id_or_with_an_endless_one_has_a_hash() -> None:
    plain, long = row(b"\nText\n"), row(b"Message-ID: <" + b"x" * 300 + b">\n\nText\n")
    assert len(str(plain["id"])) == len(str(long["id"])) == 32
    assert plain["id"] != long["id"]


@pytest.mark.parametrize(
    ("charset", "content", "text"),
    [
        (b"iso-8859-15", b"10 \xa4", "10 €"),
        (b"nosuch", b"\x93quoted\x94", "“quoted”"),
        (b"us-ascii", "naïve".encode(), "naïve"),
        (b"utf-16-broken", b"\x81", "\ufffd"),
        (b"ISO-2022-JP", "明日の会議".encode("iso-2022-jp"), "明日の会議"),
        (b"utf-16", b"no such", "no such"),
    ],
)
def test_texts_in_the_charset_they_have(charset: bytes, content: bytes, text: str) -> None:
    head = b"Content-Type: text/plain; charset=" + charset + b"\nContent-Transfer-Encoding: 8bit"
    assert row(head + b"\n\n" + content)["text"] == text


def test_a_forwarded_mail_is_read_and_a_broken_multipart_too() -> None:
    inner = b"Content-Type: message/rfc822\n\nSubject: inner\n\nInner words\n"
    head = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nOuter\n--b\n"
    assert str(row(head + inner + b"--b--\n")["text"]).split() == ["Outer", "Inner", "words"]
    assert row(b"Content-Type: multipart/mixed\n\nWords\n")["text"] == ""


def test_a_message_that_is_too_long_is_one_bad_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "LONGEST", 100)
    long, short = rows(b"From a\n\n" + b"word\n" * 100 + b"\nFrom b\n\nText\n")
    assert long == "more than 100 bytes in a message"
    assert isinstance(short, dict)


def test_another_file_is_refused_and_an_empty_one_is_empty() -> None:
    with pytest.raises(SourceError, match=r"x\.mbox: not MBOX: no line `From …` begins it"):
        rows(b"Subject: alone\n\nText\n")
    assert rows(b"\n\n") == []
    with pytest.raises(SourceError, match="no column label"):
        rows(b"", columns_from({"label": "label"}))
