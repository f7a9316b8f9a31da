"""What a model says of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group

from ml_assets.console.layout import table


def predictions(
    texts: Sequence[str], answers: Sequence[Mapping[str, float]], most: int = 3
) -> Group:
    """The most probable labels of each text."""
    return Group(
        *(
            table(
                " ".join(text.split())[:70],
                [
                    {"label": label, "probability": f"{answer[label]:.3f}"}
                    for label in sorted(answer, key=answer.__getitem__, reverse=True)[:most]
                ],
            )
            for text, answer in zip(texts, answers, strict=True)
        )
    )
