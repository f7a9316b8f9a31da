"""MLflow's aliases `challenger` and `champion`, which follow what PostgreSQL says."""

from __future__ import annotations

from ml_assets.registry.model import MODEL_NAME
from ml_assets.registry.versions import champion, current_challenger
from ml_assets.stores import mlflow, postgres


def follow_release(connection: postgres.Connection, where: mlflow.Tracking) -> list[str]:
    """Make the aliases name what is registered and released; say what was moved.

    The release is committed first. A process that is killed before it comes here leaves an alias
    behind, and a person can move one: the next run puts both right.

    Raises:
        StoreError: MLflow does not answer, or does not have the version.
    """
    versions = {"challenger": current_challenger(connection), "champion": champion(connection)}
    if not any(versions.values()):
        return []
    aliases = mlflow.read_aliases(where, MODEL_NAME)
    moved = []
    for alias, version in versions.items():
        present, wanted = aliases.get(alias), version.version if version else None
        if present != wanted:
            mlflow.set_alias(where, MODEL_NAME, alias, wanted)
            moved.append(f"{alias}: {present or 'none'} → {wanted or 'none'}")
    return moved
