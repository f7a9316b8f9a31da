"""Create or update the tables of every store: `python -m ml_assets.stores`.

Each store does this by itself when it is first opened. Here it is a step of its own, for a
deployment that wants it done, or refused, before anything else starts.
"""

from __future__ import annotations

import os
import sys

from ml_assets.errors import UserError
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores import clickhouse, duckdb, online, postgres
from ml_assets.stores.migrations import STORES, read_migrations


def migrate_all(settings: Settings) -> list[str]:
    """Bring every store that has tables up to date; say how many migrations each has."""
    with (
        postgres.connect(secret(settings.postgres_url), settings.home),
        clickhouse.connect(secret(settings.clickhouse_url), settings.home),
        duckdb.connect(settings.duckdb_file),
        online.connect(secret(settings.online_url), settings.home),
    ):
        # Redis and DynamoDB have none.
        stores = [store for store in STORES if store != "sqlite" or settings.online_url is None]
        return [f"{store}: {len(read_migrations(store))} migrations in place" for store in stores]


if __name__ == "__main__":
    os.umask(0o077)  # as the command line does
    try:
        print("\n".join(migrate_all(load_settings())))
    except UserError as error:
        sys.exit(str(error))
