"""Passages, questions and settings that the tests of answers share."""

from __future__ import annotations

from typing import Any

from ml_assets.answers.answering import Grounds
from ml_assets.answers.model import Passage
from ml_assets.settings import Settings, load_settings

BREAD = "Sourdough rises slowly in a cold kitchen, and the bread tastes sour."
OWLS = "Owls hunt mice at night, and fly without a sound."


def passages(*texts: str, title: str = "") -> tuple[Passage, ...]:
    return tuple(
        Passage(number, f"d{number}", 0, title, None, "notes", 0, len(text), 0.5, text, text[:40])
        for number, text in enumerate(texts, start=1)
    )


def grounds(*texts: str, question: str = "How does sourdough rise?") -> Grounds:
    return Grounds(question, passages(*texts), "generation", is_enough=True)


def answering_settings(**changed: Any) -> Settings:
    return load_settings(**{"answer_tokens": 64, "answer_context": 1024, **changed})
