"""The spool of predictions, and of what was told of them: segments are written anew.

Of each record its place is left, and when it was made: without that it would count as lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ml_assets.documents.normalize import normalize
from ml_assets.errors import StoreError
from ml_assets.monitoring.predictions import FEEDBACK, PREDICTIONS, Predicted, Told, record_of
from ml_assets.monitoring.spool import segments
from ml_assets.operations.erasure.subject import Marks, Removed, Subject
from ml_assets.operations.erasure.traces.matching import Matcher
from ml_assets.operations.erasure.traces.patterns import patterns_of
from ml_assets.stores.file_locks import wait_for

CLOSED_AFTER = 40.0
"""Seconds to wait for a segment that the service still writes: it writes none for longer."""

Request = tuple[str, int]
"""A request, and which of its texts."""


def text_hashes(subject: Subject) -> set[str]:
    """By what the log knows a text: sha256 in hex, of each as it is read, and as it is embedded."""
    whole = {sha256(normalize(text).encode()).hexdigest() for text in subject.texts}
    return whole | {text_hash.hex() for text_hash in subject.text_hashes}


@dataclass(frozen=True)
class Spool:
    """The segments of a home, and what is to be erased in them."""

    home: Path
    subject: Subject

    def requests(self) -> set[Request]:
        """The requests of which a text is to be erased."""
        return {
            _request(record)
            for segment in self._segments(PREDICTIONS)
            for record in segments.read_records(segment.path)[0]
            if self._names_it(record)
        }

    def erase(self, requests: Collection[Request]) -> list[Removed]:
        """Erase these, and whatever has a text; a segment that is still written is waited for.

        Raises:
            StoreError: it is written for too long.
        """
        written = 0
        for name in (FEEDBACK, PREDICTIONS):  # by predictions, feedback is found
            without = partial(self._without, name, frozenset(requests))
            for segment in self._segments(name, {request_id for request_id, _ in requests}):
                if not wait_for(partial(_rewrite, segment, without), CLOSED_AFTER):
                    raise StoreError(
                        f"it is still written after {CLOSED_AFTER:g} s",
                        where=str(segment.path),
                        do="End the service that writes it, and forget it again, which goes on",
                    )
                written += 1
            written += segments.remove_unnamed(segments.place_of(self.home, name))
        return [Removed("spool", "segments", written, "they were written anew")]

    @cached_property
    def _hashes(self) -> set[str]:
        return text_hashes(self.subject)

    @cached_property
    def _words(self) -> Matcher:
        return _matcher((*self._hashes, *self.subject.marks.words))

    @cached_property
    def _labels(self) -> Matcher:
        return _matcher(f'"{label}"' for label in self.subject.labels)

    def _segments(self, name: str, others: Collection[str] = ()) -> list[segments.Segment]:
        """Those of a kind in which there is something of the subject, or one of these words."""
        matchers = (self._words, self._labels, _matcher(others))
        return [
            segment
            for segment in segments.list_segments(segments.place_of(self.home, name))
            for content in [_read(segment)]
            if any(next(matcher.find([content]), None) for matcher in matchers)
        ]

    def _names_it(self, record: segments.Record) -> bool:
        if record.get("label") in self.subject.labels or record.get("text_hash") in self._hashes:
            return True
        found = self._words.find([str(record.get("text") or "").encode()])
        return next(found, None) is not None

    def _without(
        self, name: str, requests: Collection[Request], record: segments.Record
    ) -> segments.Record:
        if _request(record) in requests or self._names_it(record):
            return {"sequence": record.get("sequence"), **record_of(_place_of(name, record))}
        probabilities = record.get("probabilities")
        if not isinstance(probabilities, Mapping):
            return record
        labels = self.subject.labels
        kept = {label: each for label, each in probabilities.items() if label not in labels}
        return {**record, "probabilities": kept}


def _matcher(words: Any) -> Matcher:
    return Matcher(patterns_of(Marks(tuple(words))))


def _read(segment: segments.Segment) -> bytes:
    try:
        return segment.path.read_bytes()
    except FileNotFoundError:  # it was loaded just now
        return b""


def _request(record: segments.Record) -> Request:
    position = record.get("position", 0)
    return str(record.get("request_id")), position if isinstance(position, int) else 0


def _place_of(name: str, record: segments.Record) -> Predicted | Told:
    """What is left of a record; a prediction and what is told of one are no pair."""
    try:
        at = datetime.fromisoformat(str(record.get("at")))
    except ValueError:
        at = datetime.now(UTC)
    if name == FEEDBACK:
        return Told(at, "", position=1)
    return Predicted(at, "", 0, None, "", 0, "", None, "", 0.0, {}, {}, 0.0)


def _rewrite(segment: segments.Segment, without: Any) -> bool:
    """Write a segment anew; False while its writer has it."""
    with segments.claimed(segment) as ours:
        if ours:
            segments.rewrite(segment, without)
        return ours or not segment.path.exists()
