"""What was found of a day, kept in DuckDB: a row per reference, and one per finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Literal

from ml_assets.features.drift.comparison import Comparison, Finding
from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement

Reference = Literal["training set", "7 days", "28 days"]
"""What a day is compared with: what the champion was trained on; the days before it."""


@dataclass(frozen=True, slots=True)
class DayComparison:
    """What came from `first_day` to `day`, compared with one reference.

    `model_version`: of the champion whose training set the reference is.
    """

    day: date
    reference: Reference
    first_day: date
    comparison: Comparison
    model_version: int | None = None


def write_comparisons(
    duck: duckdb.Connection, day: date, comparisons: Sequence[DayComparison]
) -> None:
    """Write what was found of a day, in the place of what was found of it before."""
    with duckdb.transaction(duck):
        for table in ("drift_comparisons", "feature_drift"):
            duck.execute(f"delete from {table} where day = ?", [day])  # noqa: S608
        for each in comparisons:
            compared = each.comparison
            head = {
                "day": day,
                "reference": each.reference,
                "outcome": compared.outcome,
                "message": compared.message,
                "first_day": each.first_day,
                "reference_rows": compared.reference_rows,
                "current_rows": compared.current_rows,
                "model_version": each.model_version,
            }
            duck.execute(statement("duckdb/features/write_comparison"), head)
            text = statement("duckdb/features/write_finding")
            bound = {"day": day, "reference": each.reference}
            for finding in compared.findings:
                duck.execute(text, {**bound, **asdict(finding)})


def read_comparisons(duck: duckdb.Connection, day: date | None = None) -> list[DayComparison]:
    """What was found of a day, or of the last one that was looked at; empty: none was."""
    text = statement("duckdb/features/comparisons")
    rows = duck.execute(text, {"day": day}).fetchall()
    return [
        DayComparison(
            day=day,
            reference=reference,
            first_day=first,
            comparison=Comparison(outcome, message, before, now, _findings(duck, day, reference)),
            model_version=version,
        )
        for day, reference, outcome, message, first, before, now, version in rows
    ]


def drift_strengths(duck: duckdb.Connection, since: date) -> list[tuple[date, str, float]]:
    """Of each day from `since` on and each reference: the strongest drift; 0: nothing drifted.

    A strength is an effect as a multiple of its limit. Days that could not tell are left out.
    """
    return duck.execute(statement("duckdb/features/drift_strengths"), {"since": since}).fetchall()


def last_compared(duck: duckdb.Connection) -> datetime | None:
    """When any day was compared last."""
    query = "select max(compared_at) from drift_comparisons"
    ((moment,),) = duck.execute(query).fetchall()
    return moment if isinstance(moment, datetime) else None


def _findings(duck: duckdb.Connection, day: date, reference: str) -> tuple[Finding, ...]:
    text = statement("duckdb/features/findings")
    rows = duck.execute(text, {"day": day, "reference": reference}).fetchall()
    return tuple(Finding(*row) for row in rows)


def how_it_came(comparisons: Sequence[DayComparison]) -> list[tuple[Finding, str]]:
    """What drifted on a day, strongest first, and how: `suddenly`, `slowly`, or "".

    What differs from the 7 days before came suddenly; what does not, but differs from 28 days or
    from the training set, slowly. Without 7 days to compare with, it is not known.
    """
    compared = {each.reference: each.comparison for each in comparisons}
    near = compared.get("7 days")
    sudden = {(each.feature, each.aspect) for each in near.drifted} if near else set()
    otherwise = "slowly" if near and near.findings else ""
    strongest: dict[tuple[str, str], Finding] = {}
    drifted = [each for one in compared.values() for each in one.drifted]
    for finding in sorted(drifted, key=lambda each: -each.strength):
        strongest.setdefault((finding.feature, finding.aspect), finding)
    return [
        (finding, "suddenly" if name in sudden else otherwise)
        for name, finding in strongest.items()
    ]
