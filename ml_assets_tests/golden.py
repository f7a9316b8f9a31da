"""Golden outputs: what code of a version gives, kept beside the tests in `goldens/`.

A version constant promises that the same version gives the same output: fingerprints hold it, and
whatever was computed under it is not computed again. So output and version may change only
together.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).with_name("goldens")


def check(constant: str, version: object, output: object, tolerance: float = 0.0) -> None:
    """Compare `output` with the one kept for `version`, the value of `constant` (dotted).

    Numbers may differ by `tolerance`. With REWRITE_GOLDENS=1 in the environment, a new version's
    output is written; the output of a version that has one is never replaced.
    """
    file = FOLDER / f"{constant}.json"
    given = json.loads(json.dumps({"version": version, "output": output}))
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {"version": None}
    if kept["version"] == given["version"]:
        if place := difference(kept["output"], given["output"], tolerance):
            pytest.fail(
                f"the output of version {version} changed, at {place}. If that is meant, raise"
                f" {constant}, and rerun this test with REWRITE_GOLDENS=1"
            )
    elif os.environ.get("REWRITE_GOLDENS"):
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps(given, indent=1, ensure_ascii=False, sort_keys=True)
        file.write_text(f"{text}\n", "utf-8")
    else:
        pytest.fail(
            f"{constant} is {version}, and {file.name} is of version {kept['version']}: rerun this"
            " test with REWRITE_GOLDENS=1, and look at the difference before you commit it"
        )


def difference(kept: Any, given: Any, tolerance: float = 0.0, place: str = "output") -> str:
    """The first place where the two differ; empty: nowhere."""
    if isinstance(kept, dict) and isinstance(given, dict) and kept.keys() == given.keys():
        pairs = [(f"{place}.{key}", kept[key], given[key]) for key in kept]
    elif isinstance(kept, list) and isinstance(given, list) and len(kept) == len(given):
        pairs = [(f"{place}[{i}]", *both) for i, both in enumerate(zip(kept, given, strict=True))]
    elif isinstance(kept, float | int) and isinstance(given, float | int):
        same = math.isclose(kept, given, rel_tol=1e-9, abs_tol=tolerance)
        return "" if same else f"{place}: {given}, was {kept}"
    else:
        return "" if kept == given else f"{place}: {given!r}, was {kept!r}"
    places = (difference(old, new, tolerance, where) for where, old, new in pairs)
    return next(filter(None, places), "")
