"""The texts: documents of a built-in source in JSON Lines, and edits of some of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

EVERY = 100
"""An edit changes one document in so many: 1 %."""


@dataclass(frozen=True)
class Text:
    """One document, as every contender reads it."""

    id: str
    title: str
    text: str


def read_source(spec: str) -> list[Text]:
    """All documents of a source, in its order; of two with one id the first."""
    from ml_assets.documents.model import Document
    from ml_assets.documents.sources import open_source
    from ml_assets.settings import load_settings

    source = open_source(spec, load_settings())
    rows = source.read(source.collections())
    found = (row for row in rows if isinstance(row, Document))
    texts = (Text(row.document_id, row.title, row.text) for row in found)
    return list({text.id: text for text in reversed(list(texts))}.values())[::-1]


def spread(texts: Sequence[Text], size: int) -> list[Text]:
    """`size` of the texts, evenly spread over them; all when there are fewer."""
    size = min(size, len(texts))
    return [texts[place * len(texts) // size] for place in range(size)]


def edit(texts: Sequence[Text], turn: int) -> list[Text]:
    """A paragraph more in every hundredth document; each turn edits others."""
    return [
        replace(text, text=f"{text.text}\n\nEdited, turn {turn}.")
        if place % EVERY == turn % EVERY
        else text
        for place, text in enumerate(texts)
    ]


def count_edited(texts: Sequence[Text], turn: int) -> int:
    """How many documents `edit` changes."""
    return len(range(turn % EVERY, len(texts), EVERY))


def write(texts: Sequence[Text], file: Path) -> Path:
    """Write JSON Lines with the columns id, title and text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        for text in texts:
            lines.write(json.dumps(text.__dict__, ensure_ascii=False) + "\n")
    return file


def write_turns(texts: Sequence[Text], folder: Path, turns: int) -> list[Path]:
    """The texts as they are, and after each of `turns` edits, one upon the other."""
    files = [write(texts, folder / "0.jsonl")]
    for turn in range(1, turns + 1):
        texts = edit(texts, turn)
        files.append(write(texts, folder / f"{turn}.jsonl"))
    return files
