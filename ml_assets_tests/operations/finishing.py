"""A deployment of one document whose last run ended well."""

from pathlib import Path

from pydantic import SecretStr

from ml_assets.documents.history import count_changes
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources import open_source
from ml_assets.operations import state
from ml_assets.operations.pending import forget_finish, remember_finish
from ml_assets.settings import Settings
from ml_assets.stores import postgres


def of_one_document(settings: Settings, postgres_url: str, folder: Path) -> Settings:
    """The settings of a deployment that reads a file in `folder`."""
    (folder / "notes.jsonl").write_text('{"id": "x", "text": "One."}\n')
    changed = {
        "postgres_url": SecretStr(postgres_url),
        "source": f"files:{folder}/notes.jsonl",
    }
    return settings.model_copy(update=changed)


def end_a_run(connection: postgres.Connection, settings: Settings) -> None:
    """Read the documents, and keep that a run ended well."""
    source = open_source(settings.source, settings)
    inputs = state.run_inputs(settings, source)
    refresh_documents(connection, source, source.collections())
    forget_finish(connection, "turn")
    remember_finish(connection, settings, "turn", inputs, count_changes(connection))
