"""Chunking by the embedding model's own tokens, at paragraph, sentence or word boundaries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.documents.streams import batches
from ml_assets.errors import SettingError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_Piece = tuple[int, int, int]
"""Start and end of a piece of a text, in characters, and its tokens with heading and prompt."""

VERSION = 2
_CHARACTERS = 250_000
"""Characters that are tokenized at once, within a long document too: tokens take 3 KB each."""

_PARAGRAPH, _SENTENCE, _WORD, _INSIDE = 3, 2, 1, 0
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
        """How many tokens of the title fit beside a full chunk."""
        return self.sequence_tokens - self._fixed_tokens - self.tokens

    def chunk(self, title: str, text: str) -> list[Chunk]:
        """Cut one document; every character that is not white space is in at least one chunk."""
        return next(self.chunk_all([(title, text)]))

    def chunk_all(self, documents: Iterable[tuple[str, str]]) -> Iterator[list[Chunk]]:
        """Cut each document, a title and a text, like `chunk`; tokenized together, on all cores."""
        for batch in batches(documents, lambda document: sum(map(len, document)), _CHARACTERS):
            titles, texts = zip(*batch, strict=True)
            headings = self._clip(titles)
            cut = (
                [self._cut_long(headings[0], texts[0])]
                if len(texts[0]) > _CHARACTERS
                else self._pieces(headings, texts)
            )
            for heading, text, pieces in zip(headings, texts, cut, strict=True):
                yield [
                    Chunk(index, start, end, count, heading, text[start:end])
                    for index, (start, end, count) in enumerate(pieces)
                ]

    def _cut_long(self, heading: str, text: str) -> list[_Piece]:
        """Cut a text window by window; the last piece of one, cut short by its end, is cut anew."""
        cut: list[_Piece] = []
        begin = 0
        while begin < len(text):
            window = text[begin : begin + _CHARACTERS]
            (pieces,) = self._pieces([heading], [window])
            shifted = [(begin + start, begin + end, count) for start, end, count in pieces]
            begin += len(window)
            if begin < len(text) and len(shifted) > 1:
                begin = shifted.pop()[0]
            cut += shifted
        return cut

    def _pieces(self, headings: Sequence[str], texts: Sequence[str]) -> list[list[_Piece]]:
        """Cut each text into pieces that the model can read whole after prompt and heading."""
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        before = [f"{self.prompt}{heading}\n" if heading else self.prompt for heading in headings]
        pieces: list[list[_Piece]] = [[] for _ in texts]
        budgets = dict.fromkeys(range(len(texts)), self.tokens)
        while budgets:
            spans = [
                (index, start, end)
                for index, budget in budgets.items()
                for start, end in _spans(texts[index], encodings[index], budget, self.overlap)
            ]
            read = self._tokenizer.encode_batch_fast(
                [before[index] + texts[index][start:end] for index, start, end in spans]
            )
            for index in budgets:
                pieces[index] = []
            for (index, start, end), encoding in zip(spans, read, strict=True):
                pieces[index].append((start, end, len(encoding)))
            # A cut inside a word can cost a token or two: cut a little shorter.
            budgets = {
                index: max(1, budget - excess)
                for index, budget in budgets.items()
                for excess in [
                    max((n for *_, n in pieces[index]), default=0) - self.sequence_tokens
                ]
                if budget > 1 and excess > 0
            }
        return pieces

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

    def _clip(self, titles: Sequence[str]) -> list[str]:
        """Cut each title to the tokens that the model has left for it."""
        encodings = self._tokenizer.encode_batch(titles, add_special_tokens=False)
        most, clipped = self.heading_tokens, []
        for title, encoding in zip(titles, encodings, strict=True):
            rest = _offsets(encoding)[most:] if len(encoding) > most else []
            clipped.append((title[: rest[0][0]] if rest else title).strip())
        return clipped


def _offsets(encoding: Encoding) -> list[tuple[int, int]]:
    """Where each token stands in the text; slow, so asked for only where there is much to cut."""
    return [(start, end) for start, end in encoding.offsets if end > start]


def _spans(text: str, encoding: Encoding, tokens: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of every chunk, in characters, white space trimmed."""
    overlap = min(overlap, tokens // 2)
    offsets = _offsets(encoding) if len(encoding) > tokens else []
    if len(offsets) <= tokens:
        yield from _trim(text, 0, len(text))
        return
    ranks = [_PARAGRAPH, *(_rank(text, left[1], right[0]) for left, right in pairwise(offsets))]
    first = begin = 0
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
    if gap.count("\n") > 1:
        return _PARAGRAPH
    if gap and ("\n" in gap or text[end - 1] in _SENTENCE_ENDS):
        return _SENTENCE
    return _WORD if gap.isspace() else _INSIDE


def _trim(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if stripped := piece.strip():
        left = start + piece.index(stripped[0])
        yield left, left + len(stripped)
