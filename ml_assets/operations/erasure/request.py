"""A request that was begun, kept in the home until all of it is done: what to erase, and the steps.

The file names what is to be forgotten, as nothing else does any more once the tables are erased. It
is overwritten before it is removed, and no backup has it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_assets.operations.erasure.subject import Marks, Removed, Subject
from ml_assets.stores.folders import folder, write_whole

FOLDER = "forgetting"
"""In the home: what is begun, and the receipts of what is done."""
_BEGUN = ".begun"
_LEFT = f"{_BEGUN}-left"
"""After the name of a request of which something could not be erased."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A request under way. `done`: what was removed, by the name of each store that is done.

    `facts`: what the receipt says beside that, as where the documents stand in their source.
    """

    subject: Subject
    actor: str
    reason: str
    source_has: tuple[str, ...] = ()
    done: Mapping[str, tuple[Removed, ...]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def with_done(self, store: str, removed: list[Removed]) -> Begun:
        """The request with one more store done."""
        return replace(self, done={**self.done, store: tuple(removed)})


def keep(home: Path, begun: Begun) -> None:
    """Keep what is begun, whole or as it was before."""
    text = json.dumps({**asdict(begun), "subject": _as_json(begun.subject)})
    write_whole(_file(home, begun.subject.request_id), text)


def unfinished(home: Path) -> list[Begun]:
    """What was begun in this home and is not done, by id; what a kill left of a file goes.

    Call it in the turn of a run: what is half may be of who is at work.
    """
    for half in (home / FOLDER).glob(f"*{_BEGUN}.*"):
        _remove(half)
    files = sorted((home / FOLDER).glob(f"*{_BEGUN}"))
    return [_read(file) for file in files]


def is_any_begun(home: Path) -> bool:
    """Whether there is anything of one for a run to do; for who has no turn, and may only look."""
    return any(file.suffix != _LEFT for file in (home / FOLDER).glob(f"*{_BEGUN}*"))


def set_aside(home: Path, request_id: str) -> None:
    """Something could not be erased: runs pass it over, until somebody asks to go on."""
    file = _file(home, request_id)
    file.replace(file.with_suffix(_LEFT))


def take_up(home: Path) -> None:
    """What was set aside is unfinished again; call it in the turn of a run."""
    for file in (home / FOLDER).glob(f"*{_LEFT}"):
        file.replace(file.with_suffix(_BEGUN))


def end(home: Path, request_id: str) -> None:
    """Nothing of it is left to do: the file is overwritten, and removed."""
    file = _file(home, request_id)
    if file.exists():  # under another name, or who is killed leaves a request of zeros
        _remove(file.replace(file.with_name(f"{file.name}.done")))


def leave_begun(copy: Path) -> None:
    """Take what is under way out of a copy of a home; receipts stay."""
    for file in (copy / FOLDER).glob(f"*{_BEGUN}*"):
        file.unlink()


def is_begun(name: str) -> bool:
    """Whether a file of the home, by its path from there, is of a request that is under way."""
    return name.startswith(f"{FOLDER}/") and _BEGUN in name


def _file(home: Path, request_id: str) -> Path:
    return folder(home / FOLDER) / f"{request_id}{_BEGUN}"


def _remove(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"\0" * file.stat().st_size)
        opened.flush()
        os.fsync(opened.fileno())
    file.unlink()


def _read(file: Path) -> Begun:
    read = json.loads(file.read_text(encoding="utf-8"))
    done = {
        store: tuple(Removed(**each) for each in removed)
        for store, removed in read.pop("done").items()
    }
    subject, source_has = _from_json(read.pop("subject")), tuple(read.pop("source_has"))
    return Begun(**read, subject=subject, source_has=source_has, done=done)


def _as_json(subject: Subject) -> dict[str, Any]:
    vectors = [base64.b64encode(each.astype("<f4").tobytes()) for each in subject.marks.vectors]
    words = subject.marks.words
    plain = {name: getattr(subject, name) for name in Subject.__slots__ if name != "marks"}
    plain["text_hashes"] = [each.hex() for each in subject.text_hashes]
    return {**plain, "marks": {"words": words, "vectors": [each.decode() for each in vectors]}}


def _from_json(read: dict[str, Any]) -> Subject:
    marks = read.pop("marks")
    import numpy as np  # who only looks whether there is a request is spared it

    vectors = (np.frombuffer(base64.b64decode(each), "<f4") for each in marks["vectors"])
    hashes = tuple(bytes.fromhex(each) for each in read.pop("text_hashes"))
    lists = {name: tuple(value) for name, value in read.items() if name != "request_id"}
    return Subject(
        request_id=read["request_id"],
        text_hashes=hashes,
        marks=Marks(tuple(marks["words"]), tuple(vectors)),
        **lists,
    )
