"""Models by what people call them: a version, a run, a family, the champion; and two of them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ml_assets.errors import NothingToDoError
from ml_assets.registry.model import MODEL_NAME, ModelVersion
from ml_assets.registry.versions import (
    champion,
    current_challenger,
    read_version,
    registered_versions,
)
from ml_assets.stores import postgres
from ml_assets.training.experiments import find_runs, read_candidate
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.model import Candidate

LEAST_PREFIX = 4
"""Characters of the id of a run that name it."""

_ROLES = {"champion": champion, "challenger": current_challenger}


@dataclass(frozen=True, slots=True)
class Named:
    """A candidate, and how it is called where it is shown."""

    name: str
    candidate: Candidate


def find_model(connection: postgres.Connection, name: str) -> Named:
    """A version (`3`, `document_classifier/3`), `champion`, a run, or a family's last training.

    A run is named by its id, or by at least four characters of its beginning.

    Raises:
        NothingToDoError: there is none of that name, or several runs.
    """
    if name in _ROLES:
        version = _ROLES[name](connection)
        if version is None:
            do = "`ml-assets models` shows the versions that there are"
            raise NothingToDoError(f"there is no {name}", where=MODEL_NAME, do=do)
        return _of_version(version)
    number = name.removeprefix(f"{MODEL_NAME}/")
    if number.isascii() and number.isdecimal() and len(number) < 10:
        version = read_version(connection, int(number))
        if version:
            return _of_version(version)
    runs = find_runs(connection, name) if len(name) >= LEAST_PREFIX else []
    families = {family.name for family in FAMILIES}
    if len(runs) > 1 and name not in families:
        do = f"Write more of it: {', '.join(run_id[: len(name) + 4] for run_id in runs[:5])}"
        raise NothingToDoError(f"{len(runs)} runs begin with {name!r}", where="models", do=do)
    candidate = read_candidate(connection, runs[0]) if runs else None
    if candidate is None:
        raise _unknown(connection, name)
    return Named(f"{candidate.family} {candidate.run_id[:8]}", candidate)


def known_names(connection: postgres.Connection) -> list[str]:
    """What `find_model` finds, but for runs: families, roles and the last versions."""
    versions = [f"{MODEL_NAME}/{each.version}" for each in registered_versions(connection)]
    return [*(family.name for family in FAMILIES), *_ROLES, *versions]


def compare(one: Named, other: Named) -> list[dict[str, Any]]:
    """Every metric that one of two has, with the difference of the second to the first."""
    first, second = one.candidate.metrics, other.candidate.metrics
    names = (one.name, other.name if other.name != one.name else f"{other.name} again")
    return [
        {
            "metric": metric,
            names[0]: first.get(metric),
            names[1]: second.get(metric),
            "difference": second[metric] - first[metric]
            if metric in first and metric in second
            else None,
        }
        for metric in dict.fromkeys((*first, *second))
    ]


def _of_version(version: ModelVersion) -> Named:
    return Named(version.subject, version.candidate)


def _unknown(connection: postgres.Connection, name: str) -> NothingToDoError:
    known = known_names(connection)
    close = get_close_matches(name[:100], known, n=3, cutoff=0.5)
    do = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(known[:12])}"
    return NothingToDoError(f"{name[:100]!r} is no version, run or family", where="models", do=do)
