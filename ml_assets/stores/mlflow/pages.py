"""The pages of MLflow on our own store."""

from __future__ import annotations

import sys
from pathlib import Path

from ml_assets.stores.mlflow.client import SWITCHES
from ml_assets.stores.mlflow.location import tracking
from ml_assets.stores.processes import run_program


def serve(postgres_url: str | None, home: Path, port: int) -> int:
    """Serve the pages of MLflow on 127.0.0.1 until they are ended; return the exit code."""
    where = tracking(None, postgres_url, home)
    environment = {
        **SWITCHES,
        "MLFLOW_BACKEND_STORE_URI": where.uri,  # no list of processes shows its password
        "ML_ASSETS_HOME": str(home),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    words = ["-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    return run_program([sys.executable, *words], environment)
