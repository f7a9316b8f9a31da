"""Repair: what another hand damaged is forgotten, so that the next run makes it again."""

from __future__ import annotations

from collections.abc import Callable

from ml_assets.documents import quality as documents
from ml_assets.embeddings import quality as embeddings
from ml_assets.embeddings.space import current_space
from ml_assets.features import quality as features
from ml_assets.releases import quality as releases
from ml_assets.releases.roles import authorize
from ml_assets.search.generation import published_generation
from ml_assets.search.indexes.kinds import Indexes, forget_altered
from ml_assets.search.publishing import quality as generations
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, mlflow, online, postgres
from ml_assets.stores.postgres.locks import turn
from ml_assets.training import experiments, training_set


def forget_damaged(settings: Settings, notify: Callable[[str], None]) -> None:
    """Forget documents, chunks, vectors, features and index entries that are not as written.

    A run after it reads, cuts, encodes and computes them again, and writes the indexes anew. Models
    that lie on another host are forgotten, too. Releases, and the generations that were served,
    follow from the audit log at once.
    """
    url = secret(settings.postgres_url)
    where = mlflow.tracking(secret(settings.mlflow_tracking_uri), url, settings.home)
    with (
        postgres.connect(url, settings.home) as connection,
        turn(connection, notify),
        duckdb.connect(settings.duckdb_file) as duck,
        online.connect(secret(settings.online_url), settings.home) as store,
    ):
        authorize(connection, settings.actor, "repair", "home")
        releases.restore_from_log(connection)
        generations.restore_from_log(connection)
        documents.forget_damaged(connection)
        embeddings.forget_altered(connection, current_space(settings))
        features.forget_altered(duck, store)
        training_set.forget_altered(duck)
        experiments.forget_elsewhere(connection, duck, where)
        if generation := published_generation(connection):
            with Indexes(settings).open_all(connection, generation) as indexes:
                for index in indexes.values():
                    forget_altered(connection, index)
