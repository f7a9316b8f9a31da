"""Repair: what another hand damaged is forgotten, so that the next run makes it again."""

from __future__ import annotations

from ml_assets.documents import quality as documents
from ml_assets.embeddings import quality as embeddings
from ml_assets.embeddings.space import current_space
from ml_assets.settings import Settings, secret
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import exclusive


def forget_damaged(settings: Settings) -> None:
    """Forget documents, chunks and vectors that are not as they were written.

    A run after it reads, cuts and encodes them again, and brings the indexes up to date.
    """
    with (
        postgres.connect(secret(settings.postgres_url), settings.home) as connection,
        exclusive(connection, "ml_assets.run"),
    ):
        documents.forget_damaged(connection)
        embeddings.forget_altered(connection, current_space(settings))
