"""Chunking by the embedding model's own tokens, at headings, paragraphs, sentences or words."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.documents.model import Heading
from ml_assets.documents.outline import Span, divide, heading_paths, window
from ml_assets.documents.streams import batches
from ml_assets.errors import SettingError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Uncut = tuple[str, str, Sequence[Heading]]
"""The title of a document, its text, and the headings in that."""

VERSION = 2
_CHARACTERS = 250_000
"""Characters that are tokenized at once, within a long document too: tokens take 3 KB each."""

_PARAGRAPH, _SENTENCE, _WORD, _INSIDE = 3, 2, 1, 0
_SENTENCE_ENDS = (".", "!", "?", ":", ";", "\u2026", "\u3002", "\uff01", "\uff1f")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `document.text[start:end] == text`.

    `path` are the headings above all of it, outermost first, without the title. `heading` is both,
    clipped to the tokens the model has left; what is embedded is `embedded_text`, whose tokens,
    special ones included, are `token_count`.
    """

    index: int
    start: int
    end: int
    token_count: int
    heading: str
    text: str
    path: tuple[str, ...] = ()

    @property
    def embedded_text(self) -> str:
        """Heading, line end, text: the input of the embedding model."""
        return _embedded(self.heading, self.text)

    @property
    def text_hash(self) -> bytes:
        """sha256 of the embedded text (32 bytes)."""
        return hashlib.sha256(self.embedded_text.encode()).digest()


@dataclass(frozen=True)
class Chunker:
    """Cuts texts into chunks of at most `tokens` tokens, `overlap` of them shared.

    `sequence_tokens` is the most the model reads, special tokens included: what the chunk leaves
    of it, the heading may fill. `prompt` is what the encoder puts before every text.

    Raises:
        SettingError: a chunk of `tokens` does not fit the model.
    """

    tokenizer_file: Path
    sequence_tokens: int
    tokens: int = 220
    overlap: int = 30
    prompt: str = ""

    def __post_init__(self) -> None:
        if self.heading_tokens < 0:
            most = self.sequence_tokens - self._fixed_tokens
            message = f"{self.tokens} tokens do not fit the model, which reads {most} at most"
            do = f"Set it to {most} or less"
            raise SettingError(message, where="ML_ASSETS_CHUNK_TOKENS", do=do)

    @cached_property
    def fingerprint(self) -> str:
        """What the chunks depend on beside the text (16 hex digits)."""
        tokenizer = hashlib.sha256(self.tokenizer_file.read_bytes()).hexdigest()
        parts = [VERSION, tokenizer, self.sequence_tokens, self.tokens, self.overlap, self.prompt]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def definition(self) -> dict[str, str | int]:
        """What a generation keeps of it: enough for one like it to be made again."""
        return {"chunker": self.fingerprint, "tokens": self.tokens, "overlap": self.overlap}

    def made_again(self, definition: Mapping[str, Any]) -> Chunker | None:
        """The chunker of a `definition`, for the same model as this one.

        None when it was for another model, or made by another version of the code.
        """
        sizes = {name: definition[name] for name in ("tokens", "overlap") if name in definition}
        try:
            made = replace(self, **sizes)
        except SettingError:
            return None
        return made if made.fingerprint == definition["chunker"] else None

    @cached_property
    def heading_tokens(self) -> int:
        """How many tokens of title and headings fit beside a full chunk."""
        return self.sequence_tokens - self._fixed_tokens - self.tokens

    def chunk(self, title: str, text: str, headings: Sequence[Heading] = ()) -> list[Chunk]:
        """Cut one document; every character that is not white space is in at least one chunk."""
        return next(self.chunk_all([(title, text, headings)]))

    def chunk_all(self, documents: Iterable[Uncut]) -> Iterator[list[Chunk]]:
        """Cut each document like `chunk`; tokenized together, on all cores."""
        for batch in batches(documents, lambda uncut: len(uncut[0]) + len(uncut[1]), _CHARACTERS):
            is_long = len(batch[0][1]) > _CHARACTERS
            for chunks in [self._cut_long(*batch[0])] if is_long else self._cut(batch):
                yield [replace(chunk, index=index) for index, chunk in enumerate(chunks)]

    def _cut_long(self, title: str, text: str, headings: Sequence[Heading]) -> list[Chunk]:
        """Cut a text window by window; the last piece of one, cut short by its end, is cut anew."""
        chunks: list[Chunk] = []
        begin = 0
        while begin < len(text):
            end = begin + _CHARACTERS
            ((*cut,),) = self._cut([(title, text[begin:end], window(headings, begin, end))])
            moved = [replace(it, start=begin + it.start, end=begin + it.end) for it in cut]
            begin = min(end, len(text))
            if begin < len(text) and len(moved) > 1:
                begin = moved.pop().start
            chunks += moved
        return chunks

    def _cut(self, documents: Sequence[Uncut]) -> list[list[Chunk]]:
        """Cut each text into chunks that the model can read whole after prompt and heading."""
        texts = [text for _, text, _ in documents]
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        cut: list[list[Chunk]] = [[] for _ in documents]
        budgets = dict.fromkeys(range(len(documents)), self.tokens)
        while budgets:
            for index, budget in budgets.items():
                title, text, headings = documents[index]
                spans = [*_spans(text, encodings[index], headings, budget, self.overlap)]
                paths = heading_paths(headings, spans)
                cut[index] = [
                    Chunk(0, start, end, 0, title, text[start:end], _words(title, path))
                    for (start, end), path in zip(spans, paths, strict=True)
                ]
            self._measure([cut[index] for index in budgets])
            # A cut inside a word can cost a token or two: cut a little shorter.
            budgets = {
                index: max(1, budget - excess)
                for index, budget in budgets.items()
                for excess in [
                    max((chunk.token_count for chunk in cut[index]), default=0)
                    - self.sequence_tokens
                ]
                if budget > 1 and excess > 0
            }
        return cut

    def _measure(self, cut: Sequence[list[Chunk]]) -> None:
        """Clip the headings of chunks that have the title alone, and count their tokens."""
        chunks = [*chain.from_iterable(cut)]
        paths = dict.fromkeys((it.heading, *it.path) for it in chunks)
        clipped = dict(zip(paths, self._clip([*paths]), strict=True))
        headings = [clipped[it.heading, *it.path] for it in chunks]
        read = self._tokenizer.encode_batch_fast(
            [
                self.prompt + _embedded(heading, it.text)
                for heading, it in zip(headings, chunks, strict=True)
            ]
        )
        measured = zip(headings, map(len, read), strict=True)
        for own in cut:
            own[:] = [
                replace(it, heading=heading, token_count=count)
                for it, (heading, count) in zip(own, islice(measured, len(own)), strict=True)
            ]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokenizer_file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _fixed_tokens(self) -> int:
        special = int(self._tokenizer.num_special_tokens_to_add(is_pair=False))
        prompt = self._tokenizer.encode(self.prompt, add_special_tokens=False)
        return special + len(_offsets(prompt))

    def _clip(self, paths: Sequence[tuple[str, ...]]) -> list[str]:
        """Join each title and its headings, in the tokens that the model has left for them.

        Of too many, the outer headings go first, and then the end of the last.
        """
        words = dict.fromkeys(chain.from_iterable(path for path in paths if len(path) > 2))
        encoded = self._tokenizer.encode_batch([*words], add_special_tokens=False)
        tokens = dict(zip(words, map(len, encoded), strict=True))
        most, joined = self.heading_tokens, []
        for title, *path in paths:
            while path[1:] and tokens[title] + sum(tokens[it] + 1 for it in path) > most:
                del path[0]
            joined.append(" > ".join(filter(None, (title, *path))))
        clipped = []
        encodings = self._tokenizer.encode_batch(joined, add_special_tokens=False)
        for heading, encoding in zip(joined, encodings, strict=True):
            rest = _offsets(encoding)[most:] if len(encoding) > most else []
            clipped.append((heading[: rest[0][0]] if rest else heading).strip())
        return clipped


def _embedded(heading: str, text: str) -> str:
    return f"{heading}\n{text}" if heading else text


def _words(title: str, path: Iterable[Heading]) -> tuple[str, ...]:
    """The words of the headings, but those that say the title again."""
    return tuple(heading.words for heading in path if heading.words != title)


def _offsets(encoding: Encoding) -> list[tuple[int, int]]:
    """Where each token stands in the text; slow, so asked for only where there is much to cut."""
    return [(start, end) for start, end in encoding.offsets if end > start]


def _spans(
    text: str, encoding: Encoding, headings: Sequence[Heading], tokens: int, overlap: int
) -> Iterator[Span]:
    """Yield the span of every chunk, white space trimmed; none is in two sections that are cut."""
    offsets = _offsets(encoding) if len(encoding) > tokens else []
    if len(offsets) <= tokens:
        yield from _trim(text, 0, len(text))
        return
    starts = [start for start, _ in offsets]

    def count(start: int, end: int) -> int:
        return bisect_left(starts, end) - bisect_left(starts, start)

    for start, end in divide(headings, len(text), count, tokens):
        inside = offsets[bisect_left(starts, start) : bisect_left(starts, end)]
        yield from _cut_section(text, start, end, inside, tokens, min(overlap, tokens // 2))


def _cut_section(
    text: str, begin: int, end: int, offsets: Sequence[Span], tokens: int, overlap: int
) -> Iterator[Span]:
    """Yield the spans of a part of a text whose tokens stand at these offsets."""
    ranks = [_PARAGRAPH, *(_rank(text, left[1], right[0]) for left, right in pairwise(offsets))]
    first = 0
    while first + tokens < len(offsets):
        places = range(first + max(1, tokens // 2), first + tokens + 1)
        cut = max(places, key=lambda token: (ranks[token], token))
        yield from _trim(text, begin, offsets[cut][0])
        shared = range(max(first + 1, cut - overlap), cut + 1)
        first = max(shared, key=lambda token: (min(ranks[token], _SENTENCE), -token))
        begin = offsets[first][0]
    yield from _trim(text, begin, end)


def _rank(text: str, end: int, start: int) -> int:
    """How good a place between two tokens is to cut at."""
    gap = text[end:start]
    if gap.count("\n") > 1:
        return _PARAGRAPH
    if gap and ("\n" in gap or text[end - 1] in _SENTENCE_ENDS):
        return _SENTENCE
    return _WORD if gap.isspace() else _INSIDE


def _trim(text: str, start: int, end: int) -> Iterator[Span]:
    piece = text[start:end]
    if stripped := piece.strip():
        left = start + piece.index(stripped[0])
        yield left, left + len(stripped)
