"""A question's passages, the sentences that rest on them, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["generated", "extractive", "refused"]
"""Written by a language model; the passages themselves; or none, since nothing found answers it."""

Mark = Literal["cited", "doubtful", "wrong", "uncited"]
"""Cites passages that were given; shares few words with them; cites one that was not; cites none.
"""

NOTES: dict[Mark, str] = {
    "cited": "",
    "doubtful": "[doubtful]",
    "wrong": "[wrongly cited]",
    "uncited": "[uncited]",
}
"""What stands after a sentence in a text."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of a document, as it was indexed, under its number in the answer, from 1 on."""

    number: int
    document_id: str
    chunk_index: int
    title: str
    url: str | None
    collection: str
    start_offset: int
    end_offset: int
    relevance: float | None
    text: str
    snippet: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A part of an answer, and the numbers of the passages it cites: only of those that exist."""

    text: str
    passages: tuple[int, ...]
    mark: Mark

    def __str__(self) -> str:
        """The sentence with its citations, as [1][2], and with what is wrong with them."""
        cited = "".join(f"[{number}]" for number in self.passages)
        return " ".join(filter(None, (self.text, cited, NOTES[self.mark])))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it rests on.

    `notice` says what kind it is, and why, in a sentence. `complete`: it was written to its end.
    The tokens are those that the server of the model counted, if it did.
    """

    question: str
    kind: Kind
    sentences: tuple[Sentence, ...]
    passages: tuple[Passage, ...]
    notice: str
    generation_id: str
    model: str = ""
    complete: bool = True
    prompt_tokens: int | None = None
    answer_tokens: int | None = None

    @property
    def text(self) -> str:
        """All sentences, with their citations."""
        return " ".join(map(str, self.sentences))

    @property
    def cited(self) -> tuple[Passage, ...]:
        """The passages that sentences cite."""
        numbers = {number for sentence in self.sentences for number in sentence.passages}
        return tuple(passage for passage in self.passages if passage.number in numbers)
