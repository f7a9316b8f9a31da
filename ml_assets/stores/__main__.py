"""Create or update the tables of every store: `python -m ml_assets.stores`.

Each store does this by itself when it is first opened. Here it is a step of its own, for a
deployment that wants it done, or refused, before anything else starts.
"""

from __future__ import annotations

import sys

from ml_assets.errors import UserError
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores import clickhouse, duckdb, postgres


def migrate_all(settings: Settings) -> list[str]:
    """Bring every store that has tables up to date; say how many migrations each has.

    Raises:
        StoreError: a store cannot be reached, opened or written.
    """
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        rows = connection.execute("select count(*) from migrations").fetchone()
        lines = [f"PostgreSQL: {rows[0] if rows else 0} migrations in place"]
    with clickhouse.connect(secret(settings.clickhouse_url), settings.home) as client:
        count = client.query("select count() from migrations final").result_rows[0][0]
        lines.append(f"ClickHouse: {count} migrations in place")
    with duckdb.connect(settings.duckdb_file) as database:
        row = database.execute("select count(*) from migrations").fetchone()
        lines.append(f"DuckDB: {row[0] if row else 0} migrations in place")
    return lines


if __name__ == "__main__":
    try:
        print("\n".join(migrate_all(load_settings())))
    except UserError as error:
        sys.exit(str(error))
