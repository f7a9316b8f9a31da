"""What a language model is told: rules, passages as data, the question; within a number of tokens.

The words are those of `prompt.txt`. Passages stand between lines with a boundary that is drawn for
each question, so that no document can hold it; and what servers take for the markup of a
conversation is none any more in them (llama.cpp and Ollama read it in texts, too).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from ml_assets.answers.model import Passage
from ml_assets.errors import UserError

MOST_CHARACTERS = 2_000
"""Characters of a question."""

TOKEN_BYTES = 3
"""A token is counted as so many bytes: those of texts in English have four, of code three."""

_FILE = Path(__file__).with_name("prompt.txt")
_SHORTEST = 200
"""Fewer characters of a passage say nothing."""

_LONGEST_TITLE = 200
_ROLES = 32
"""Tokens with which a server marks who says what."""

_MARKUP = re.compile(r"<(?=[|\uff5c]|/?\w+>)|(?<=[|\uff5c])(?=>)|\[(?=/?[A-Z_]{3,}\])")
"""`<|im_end|>`, `</think>`, `[INST]` and their like: a blank after, or before, this breaks them."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Controls, what turns the direction of writing, and tags: read by models, and not by people."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages for a model, the passages that are in them, and the form of the answer."""

    messages: Sequence[dict[str, str]]
    passages: tuple[Passage, ...]
    schema: dict[str, Any]


def write_prompt(question: str, passages: Sequence[Passage], tokens: int) -> Prompt:
    """The prompt, with as many passages as fit into `tokens`; the last one may be cut.

    Raises:
        UserError: not even a part of the first passage fits.
    """
    question = as_data(question)
    boundary = _boundary([question, *map(_data, passages)])
    rules, frame = _templates()
    words = {"boundary": boundary, "count": str(len(passages)), "question": question}
    left = tokens - _ROLES - count_tokens(rules + frame.substitute(words, passages=""))
    fitting: list[Passage] = []
    blocks = ""
    for passage in passages:
        whole = _block(passage, boundary)
        room = len(passage.text) - max(0, count_tokens(whole) - left) * TOKEN_BYTES
        if room < min(_SHORTEST, len(passage.text)):
            break
        # A character may be several bytes, so this leaves out too much rather than too little.
        part = replace(passage, text=passage.text[:room])
        block = _block(part, boundary)
        blocks, left = blocks + block, left - count_tokens(block)
        fitting.append(part)
    if not fitting:
        raise UserError(
            "no passage fits beside the question",
            where="ML_ASSETS_ANSWER_CONTEXT",
            do="Raise it, if the model reads more, or ask a shorter question",
        )
    words["count"] = str(len(fitting))
    messages = [
        {"role": "system", "content": rules},
        {"role": "user", "content": frame.substitute(words, passages=blocks).strip()},
    ]
    return Prompt(messages, tuple(fitting), answer_schema(len(fitting)))


def answer_schema(count: int) -> dict[str, Any]:
    """The JSON schema of an answer: sentences, each with numbers of the `count` passages."""
    numbers = {"type": "array", "items": {"type": "integer", "enum": list(range(1, count + 1))}}
    sentence = _object(text={"type": "string"}, passages=numbers)
    return _object(sentences={"type": "array", "items": sentence})


def as_data(text: str) -> str:
    """A text without what could be read as more than a text."""
    return _MARKUP.sub(lambda found: found[0] + " ", _UNSEEN.sub("", text))


def count_tokens(text: str) -> int:
    """About how many tokens a text has for a model that is not known: rather too many."""
    return -(-len(text.encode()) // TOKEN_BYTES)


def _block(passage: Passage, boundary: str) -> str:
    return f"begin {boundary} passage {passage.number}\n{_data(passage)}\nend {boundary}\n"


def _data(passage: Passage) -> str:
    title = " ".join(passage.title.split())[:_LONGEST_TITLE]
    return as_data(f"{title}\n{passage.text}" if title else passage.text)


def _boundary(texts: Sequence[str]) -> str:
    """A word that is in none of the texts, and that nobody who wrote them could have known."""
    while True:
        boundary = secrets.token_hex(4)
        if not any(boundary in text for text in texts):
            return boundary


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@cache
def _templates() -> tuple[str, Template]:
    """The rules, the same for all questions, so that servers read them once; and the frame."""
    rules, _, frame = _FILE.read_text(encoding="utf-8").partition("\n=====\n")
    return rules.strip(), Template(frame)
