"""Judgments: what people say of answers, and the judged queries that become of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.documents.sources.judged import half_of
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


@dataclass(frozen=True, slots=True)
class Judgment:
    """Whether a document answers a query, as somebody says who saw the answer of a release."""

    query: str
    document_id: str
    judged_by: str
    is_relevant: bool
    release_id: int | None


def one_query(text: str) -> str:
    """A query as judgments are kept: what differs in blanks alone is one."""
    return " ".join(text.split())


def judge(connection: postgres.Connection, judgment: Judgment) -> None:
    """Keep a judgment; an earlier one of the same person on the same is replaced."""
    connection.execute(statement("postgres/service/judge"), _bound(judgment))


def withdraw(connection: postgres.Connection, judgment: Judgment) -> None:
    """Forget what its author said; nothing said is no mistake."""
    connection.execute(statement("postgres/service/withdraw_judgment"), _bound(judgment))


def judgments_of(
    connection: postgres.Connection, judged_by: str, query: str, document_ids: Sequence[str]
) -> dict[str, bool]:
    """What somebody said of these documents for a query, by id."""
    bound = {
        "judged_by": judged_by,
        "query": one_query(query),
        "document_ids": list(document_ids),
    }
    return dict(connection.execute(statement("postgres/service/judgments_of"), bound).fetchall())


def read_judged_queries(connection: postgres.Connection) -> JudgedQueries:
    """The queries for which a document was found relevant, with grades: 1 relevant, 0 not.

    A document has the grade that most of those who judged it gave; where they are even, it has
    none. Half of the queries are for tuning.
    """
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for query, document_id, is_relevant in connection.execute(statement("postgres/service/judged")):
        grades[query][document_id] = int(is_relevant)
    return tuple(
        JudgedQuery(identity, query, relevant, half_of(identity))
        for query, relevant in grades.items()
        if any(relevant.values())
        for identity in [f"page/{hashlib.sha256(query.encode()).hexdigest()[:16]}"]
    )


def _bound(judgment: Judgment) -> dict[str, object]:
    return {**asdict(judgment), "query": one_query(judgment.query)}
