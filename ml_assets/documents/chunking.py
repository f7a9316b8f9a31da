"""Chunking by the embedding model's own tokens, at paragraph, sentence or word boundaries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.errors import SettingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VERSION = 1
_PARAGRAPH, _SENTENCE, _WORD, _NONE = 3, 2, 1, 0
_SENTENCE_ENDS = (".", "!", "?", ":", ";", "\u2026", "\u3002", "\uff01", "\uff1f")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `document.text[start:end] == text`.

    `heading` is the title, clipped to the tokens the model has left; what is embedded is
    `embedded_text`, whose tokens, special ones included, are `token_count`.
    """

    index: int
    start: int
    end: int
    token_count: int
    heading: str
    text: str

    @property
    def embedded_text(self) -> str:
        """Heading, line end, text: the input of the embedding model."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text

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
            raise SettingError(
                f"{self.tokens} tokens do not fit the model, which reads {most} at most",
                where="ML_ASSETS_CHUNK_TOKENS",
            )

    @cached_property
    def fingerprint(self) -> str:
        """What the chunks depend on beside the text (16 hex digits)."""
        tokenizer = hashlib.sha256(self.tokenizer_file.read_bytes()).hexdigest()
        parts = [VERSION, tokenizer, self.sequence_tokens, self.tokens, self.overlap, self.prompt]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @cached_property
    def heading_tokens(self) -> int:
        """How many tokens of the title fit beside a full chunk."""
        return self.sequence_tokens - self._fixed_tokens - self.tokens

    def chunk(self, title: str, text: str) -> list[Chunk]:
        """Cut one document; every character that is not white space is in at least one chunk."""
        heading = self._clip(title)
        budget = self.tokens
        while True:
            spans = list(_spans(text, self._offsets(text), budget, min(self.overlap, budget // 2)))
            pieces = [text[start:end] for start, end in spans]
            before = f"{self.prompt}{heading}\n" if heading else self.prompt
            counts = self._count([before + piece for piece in pieces])
            excess = max(counts, default=0) - self.sequence_tokens
            if excess <= 0 or budget <= 1:
                break
            # A cut inside a word can cost a token or two: cut a little shorter.
            budget = max(1, budget - excess)
        return [
            Chunk(index, start, end, count, heading, piece)
            for index, ((start, end), piece, count) in enumerate(
                zip(spans, pieces, counts, strict=True)
            )
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
        return special + len(self._offsets(self.prompt))

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [(start, end) for start, end in encoding.offsets if end > start]

    def _count(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]

    def _clip(self, title: str) -> str:
        offsets = self._offsets(title)
        if len(offsets) <= self.heading_tokens:
            return title.strip()
        return title[: offsets[self.heading_tokens][0]].strip()


def _spans(
    text: str, offsets: Sequence[tuple[int, int]], tokens: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of every chunk, in characters, white space trimmed."""
    if len(offsets) <= tokens:
        yield from _trim(text, 0, len(text))
        return
    ranks = [_PARAGRAPH, *(_rank(text, left[1], right[0]) for left, right in pairwise(offsets))]
    first = 0
    begin = 0
    while first + tokens < len(offsets):
        window = range(first + max(1, tokens // 2), first + tokens + 1)
        cut = max(window, key=lambda token: (ranks[token], token))
        end = offsets[cut][0]
        yield from _trim(text, begin, end)
        shared = range(max(first + 1, cut - overlap), cut + 1)
        first = max(shared, key=lambda token: (min(ranks[token], _SENTENCE), -token))
        begin = offsets[first][0]
    yield from _trim(text, begin, len(text))


def _rank(text: str, end: int, start: int) -> int:
    """How good a place between two tokens is to cut at."""
    gap = text[end:start]
    if not gap:
        return _NONE
    if gap.count("\n") > 1:
        return _PARAGRAPH
    if "\n" in gap or text[end - 1] in _SENTENCE_ENDS:
        return _SENTENCE
    return _WORD if gap.isspace() else _NONE


def _trim(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if stripped := piece.strip():
        left = start + piece.index(stripped[0])
        yield left, left + len(stripped)
