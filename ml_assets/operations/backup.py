"""A backup: a consistent copy of everything embedded under the home, in a folder of its own.

It is taken between two runs that write, while readers go on. PostgreSQL's databases are dumped, all
else of the home is copied; a manifest has the sha256 of every file. The folder gets its name when
all is written and verified.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from ml_assets.errors import NothingToDoError, SettingError, StoreError
from ml_assets.operations.copying import copy_still, whole_folder
from ml_assets.operations.manifest import (
    FORMAT,
    Manifest,
    describe,
    read_manifest,
    refuse_newer,
    verify,
    write_manifest,
)
from ml_assets.operations.pending import adopt_finish, was_finished
from ml_assets.releases import pointer
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets.stores.migrations import STORES, read_migrations
from ml_assets.stores.postgres.dump import dump, list_databases, load
from ml_assets.stores.postgres.locks import turn
from ml_assets.stores.sql import statement

_SERVER = "postgres"
"""The folder of the server under the home, and that of its dumps in a backup.

Its log and its locks lie beside it: `postgres.log`, `postgres.lock`.
"""

_SERVERS = ("postgres_url", "chroma_url", "clickhouse_url", "redis_url", "mlflow_tracking_uri")
_ELSEWHERE = ("duckdb_path", "keyword_index_path")


def back_up(settings: Settings, target: Path, notify: Callable[[str], None]) -> Manifest:
    """Copy the home into the new folder `target`; `notify` is told when it waits for a run.

    Raises:
        SettingError: a store is on a server, or outside the home.
        NothingToDoError: there is no home yet.
        StoreError: `target` exists, a store cannot be read, or the copy cannot be written.
    """
    _refuse_servers(settings)
    target, home = target.expanduser().resolve(), settings.home
    if not (home / _SERVER).is_dir():
        raise NothingToDoError(
            "there is nothing to back up", where=str(home), do="Run `ml-assets run`"
        )
    if target.exists():
        raise StoreError("it exists already", where=str(target), do="Choose another folder")
    if target.is_relative_to(home):
        raise StoreError("it lies in the home", where=str(target), do="Choose another folder")
    with (
        postgres.connect(None, home) as connection,
        turn(connection, notify),
        pointer.deciding_alone(connection),
        whole_folder(target) as folder,
    ):
        (folder / _SERVER).mkdir()
        for name in list_databases(connection):
            dump(postgres.server_url(None, home, name), folder / _SERVER / f"{name}.dump")
        for store in sorted(home.iterdir()):
            if store.name.partition(".")[0] != _SERVER:
                copy_still(store, folder / store.name)
        manifest = _describe(connection, folder, was_finished(connection, settings))
        write_manifest(folder, manifest)
        verify(folder, manifest)
    return manifest


def restore(settings: Settings, source: Path) -> Manifest:
    """Make the home that a backup was made of; it must not exist, or be empty.

    The backup is verified first. The home gets its name when all of it is there.

    Raises:
        SettingError: a store is on a server, or outside the home.
        StoreError: the folder is no backup, a newer one or damaged, or the home is not empty.
    """
    _refuse_servers(settings)
    source, home = source.expanduser().resolve(), settings.home
    manifest = read_manifest(source)
    refuse_newer(source, manifest, _migrations())
    _refuse_used(home)
    verify(source, manifest)
    with whole_folder(home, postgres.stop) as partial:
        for name in manifest.folders:
            (partial / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in manifest.files:
            if file.path.startswith(f"{_SERVER}/"):
                database = Path(file.path).stem
                load(postgres.server_url(None, partial, database), source / file.path)
            else:
                restored = Path(shutil.copyfile(source / file.path, partial / file.path))
                restored.chmod(0o600)
                os.utime(restored, ns=(file.modified_ns, file.modified_ns))
        for name, end in manifest.links.items():
            (partial / name).symlink_to(end)
        postgres.stop(partial)
        if manifest.finished:
            with postgres.connect(None, partial) as connection:
                adopt_finish(connection, load_settings(home=partial))
            postgres.stop(partial)
    return manifest


def _refuse_servers(settings: Settings) -> None:
    fields = type(settings).model_fields
    for name in (*_SERVERS, *_ELSEWHERE):
        value = getattr(settings, name)
        if value and not (name in _ELSEWHERE and value.is_relative_to(settings.home)):
            place = "outside the home" if name in _ELSEWHERE else "on a server"
            raise SettingError(
                f"the store is {place}, and a backup is a copy of the home",
                where=str(fields[name].validation_alias),
                do="Back it up by its own means; unset the variable where all is embedded",
            )


def _refuse_used(home: Path) -> None:
    if home.exists() and not (home.is_dir() and not any(home.iterdir())):
        raise StoreError(
            "it is not empty, and a backup is restored into a home of its own",
            where=str(home),
            do="Set ML_ASSETS_HOME to a new folder, or move this one away",
        )
    if home.is_mount():
        raise StoreError(
            "something is mounted here, and a home is put in its place as a whole",
            where=str(home),
            do="Set ML_ASSETS_HOME to a folder in it",
        )


def _describe(connection: postgres.Connection, folder: Path, finished: bool) -> Manifest:
    applied = connection.execute(statement("postgres/stores/read_ledger"))
    everything = sorted(folder.rglob("*"))
    plain = [path for path in everything if not path.is_symlink()]
    return Manifest(
        format=FORMAT,
        ml_assets=version("ml-assets"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        finished=finished,
        migrations=sorted(f"{store}/{name}" for store, name, _ in applied),
        files=[describe(folder, path) for path in plain if path.is_file()],
        folders=[
            path.relative_to(folder).as_posix()
            for path in plain
            if path.is_dir() and path.name != _SERVER
        ],
        links={
            path.relative_to(folder).as_posix(): str(path.readlink())
            for path in everything
            if path.is_symlink()
        },
    )


def _migrations() -> list[str]:
    return [f"{store}/{each.name}" for store in STORES for each in read_migrations(store)]
