"""psql at the prompt, on the database of a deployment."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ml_assets.stores.postgres.migration import SCHEMA
from ml_assets.stores.postgres.programs import binaries
from ml_assets.stores.processes import run_program


def open_client(url: str, statements: Sequence[str] = ()) -> int:
    """Run psql until it ends, with `statements` or at its own prompt; return its exit code.

    An embedded server stays while psql is open, as this process uses it.
    """
    words = conninfo_to_dict(url)
    environment = {
        "PGPASSWORD": str(words.pop("password", "")),  # no list of processes shows it
        "PGOPTIONS": f"-c search_path={SCHEMA},public",
    }
    psql = [str(binaries() / "psql"), make_conninfo("", **words), "--variable=ON_ERROR_STOP=1"]
    return run_program([*psql, *(f"--command={each}" for each in statements)], environment)
