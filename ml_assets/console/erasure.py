"""What is to be forgotten, and what was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from ml_assets.console.layout import facts, table

if TYPE_CHECKING:
    from ml_assets.operations.erasure.forget import Plan


def plan(found: Plan) -> RenderableType:
    """What a request would erase; nothing was."""
    subject = found.subject
    numbers = {
        "documents": len(subject.documents),
        "chunks": len(subject.chunks),
        "collections": ", ".join(subject.collections),
        "in the source": ", ".join(found.stands) if found.stands is not None else "unreadable",
        "training sets": len(found.training_sets),
        "others with its text": ", ".join(each for ids in found.elsewhere.values() for each in ids)
        or "none",
    }
    parts: list[RenderableType] = [facts("Would be forgotten; nothing was", numbers)]
    if found.backups:
        parts.append(table("Backups that may hold it", [asdict(each) for each in found.backups]))
    return Group(*parts)


def receipt(content: Mapping[str, Any]) -> RenderableType:
    """What was erased from each store, and what was found when all was looked through."""
    looked = content["verified"]
    numbers = {
        "request": content["request_id"],
        "documents": len(content["documents"]),
        "chunks": content["chunks"],
        "looked through": f"{looked['files']:,} files for {looked['marks']:,} marks",
        "left": "nothing" if looked["is_clean"] else "see below",
        "not shown": "; ".join(content["not_shown"]),
    }
    parts: list[RenderableType] = [
        table("Erased", content["erased"]),
        facts("Forgotten", numbers),
    ]
    if looked["traces"]:
        parts.append(table("Left", looked["traces"]))
    return Group(*parts)


def verified(content: Mapping[str, Any], found: Sequence[tuple[str, str]]) -> RenderableType:
    """Whether what was forgotten is still gone."""
    if found:
        rows = [{"where": name, "what": what} for name, what in found]
        return table("There again", rows)
    what = f"The receipt {content['request_id']} is as it was signed; no table has an id that"
    return Text(f"{what} was forgotten, and no file of the home a mark of it.")
