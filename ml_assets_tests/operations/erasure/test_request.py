"""A request under way is kept whole, and leaves nothing when it ends."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_assets.errors import StoreError
from ml_assets.operations.erasure import request
from ml_assets.operations.erasure.receipt import read_receipt, write_receipt
from ml_assets.operations.erasure.request import Begun
from ml_assets.operations.erasure.subject import Marks, Removed, Subject
from ml_assets.operations.erasure.wording import wording_of
from ml_assets.stores.folders import folder

VECTOR = np.arange(4, dtype=np.float32)
SUBJECT = Subject(
    "r1",
    ("note-1", "json"),
    ("all",),
    ("note-1#0",),
    (b"\x01\x02",),
    ('He said "yes"\nto all of it',),
    (),
    Marks(('He said "yes"', "a mark of it"), (VECTOR,)),
)


def test_what_is_begun_is_read_as_it_was(tmp_path: Path) -> None:
    begun = Begun(SUBJECT, "ann", "case 1", ("file row 2",), facts={"texts": ["x"]})
    begun = begun.with_done("MLflow", [Removed("MLflow", "files", 1, "written anew")])
    request.keep(tmp_path, begun)
    (read,) = request.unfinished(tmp_path)
    assert (read.actor, read.reason, read.source_has, read.facts) == (
        "ann",
        "case 1",
        ("file row 2",),
        {"texts": ["x"]},
    )
    assert read.done == begun.done
    assert read.subject.marks.words == SUBJECT.marks.words
    assert np.array_equal(read.subject.marks.vectors[0], VECTOR)
    assert (read.subject.documents, read.subject.text_hashes) == (
        SUBJECT.documents,
        SUBJECT.text_hashes,
    )


def test_who_only_looks_leaves_all_as_it_is(tmp_path: Path) -> None:
    assert not request.is_any_begun(tmp_path)
    half = folder(tmp_path / request.FOLDER) / "r1.begun.17.tmp"
    half.touch()
    assert request.is_any_begun(tmp_path)
    assert half.exists()


def test_half_a_file_that_a_kill_left_goes(tmp_path: Path) -> None:
    request.keep(tmp_path, Begun(SUBJECT, "ann", "case 1"))
    (tmp_path / request.FOLDER / "r1.begun.17.tmp").write_text("a mark of it")
    assert len(request.unfinished(tmp_path)) == 1
    assert [file.name for file in (tmp_path / request.FOLDER).iterdir()] == ["r1.begun"]


def test_the_end_leaves_nothing(tmp_path: Path) -> None:
    request.keep(tmp_path, Begun(SUBJECT, "ann", "case 1"))
    (file,) = (tmp_path / request.FOLDER).iterdir()
    with file.open("rb") as opened:  # what another process has open is overwritten
        request.end(tmp_path, "r1")
        assert not opened.read().strip(b"\0")
    assert not request.unfinished(tmp_path)
    request.end(tmp_path, "r1")


def test_whoever_is_killed_at_the_end_leaves_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Path) -> None:
        raise KeyboardInterrupt

    request.keep(tmp_path, Begun(SUBJECT, "ann", "case 1"))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            request.end(tmp_path, "r1")
    (left,) = (tmp_path / request.FOLDER).iterdir()
    assert not left.read_bytes().strip(b"\0")
    assert not request.unfinished(tmp_path)
    assert not left.exists()


def test_a_copy_of_a_home_has_receipts_and_nothing_that_is_under_way(tmp_path: Path) -> None:
    request.keep(tmp_path, Begun(SUBJECT, "ann", "case 1"))
    write_receipt(tmp_path, {"request_id": "r0"})
    request.leave_begun(tmp_path)
    assert [file.name for file in (tmp_path / request.FOLDER).iterdir()] == ["r0.json"]


def test_a_receipt_is_as_it_was_signed_or_refused(tmp_path: Path) -> None:
    file, signed = write_receipt(tmp_path, {"request_id": "r0", "documents": 1})
    assert read_receipt(file) == signed
    file.write_text(file.read_text().replace('"documents": 1', '"documents": 2'))
    with pytest.raises(StoreError, match="not as it was signed"):
        read_receipt(file)
    file.write_text("[]")
    with pytest.raises(StoreError, match="no receipt"):
        read_receipt(file)


def test_texts_marks_and_ids_are_taken_out_of_a_text() -> None:
    wording = wording_of(SUBJECT)
    assert wording.without("note-1, note-10 and json: a mark of it") == (
        "[forgotten], note-10 and json: [forgotten]"
    )
    assert (
        wording.without(r'{"text": "He said \"yes\"\nto all of it."}') == '{"text": "[forgotten]."}'
    )
    assert wording.without("He said no") == "He said no"


def test_what_others_say_too_is_not_taken_out() -> None:
    """A state of a store may be a whole text, and a number of its JSON an id."""
    of_others = replace(SUBJECT, documents=("1234",), texts=("completed",))
    for text in ("completed", '{"a": 1234}'):
        assert wording_of(of_others).without(text) == text
