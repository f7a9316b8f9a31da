"""A backup: a consistent copy of a home and of its servers, in a folder of its own.

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
from ml_assets.monitoring.spool.segments import SPOOL
from ml_assets.operations.copying import copy, copy_still, remove, whole_folder
from ml_assets.operations.erasure.backups import keep_backup
from ml_assets.operations.erasure.request import leave_begun
from ml_assets.operations.manifest import (
    FORMAT,
    NAME,
    Manifest,
    describe,
    hash_file,
    read_manifest,
    refuse_newer,
    verify,
    write_manifest,
)
from ml_assets.operations.moving import (
    MLFLOW,
    claimed,
    fetch,
    find_mlflow,
    load_mlflow,
    load_ours,
    on_servers,
    place,
)
from ml_assets.operations.pending import adopt_finish, was_finished
from ml_assets.releases import anchor, pointer, signing
from ml_assets.releases.audit import Entry
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores import cache, online, postgres
from ml_assets.stores.folders import DAMAGED
from ml_assets.stores.migrations import STORES, read_migrations
from ml_assets.stores.postgres.dump import dump
from ml_assets.stores.postgres.locks import turn
from ml_assets.stores.postgres.migration import SCHEMA
from ml_assets.stores.sql import statement

_SERVER = "postgres"
"""The folder of the server under the home, and that of its dumps in a backup.

Its log and its locks lie beside it: `postgres.log`, `postgres.lock`.
"""
_OURS, _MLFLOW = f"{_SERVER}/postgres.dump", f"{_SERVER}/mlflow.dump"

_ELSEWHERE = ("duckdb_path", "keyword_index_path")


def back_up(settings: Settings, target: Path, notify: Callable[[str], None]) -> Manifest:
    """Copy the home into the new folder `target`; `notify` is told when it waits for a run.

    What is on servers is copied as it would lie in a home where all is embedded.

    Raises:
        SettingError: a file is outside the home, or MLflow's records out of reach.
        NothingToDoError: there is no home yet.
        StoreError: `target` exists, a store cannot be read, or the copy cannot be written.
    """
    _refuse_elsewhere(settings)
    target, home, url = target.expanduser().resolve(), settings.home, secret(settings.postgres_url)
    if not postgres.exists(url, home):
        raise NothingToDoError(
            "there is nothing to back up", where=str(home), do="Run `ml-assets run`"
        )
    if target.exists():
        raise StoreError("it exists already", where=str(target), do="Choose another folder")
    if target.is_relative_to(home):
        raise StoreError("it lies in the home", where=str(target), do="Choose another folder")
    with (
        postgres.connect(url, home) as connection,
        turn(connection, notify),
        pointer.deciding_alone(connection),
        whole_folder(target) as folder,
    ):
        (folder / _SERVER).mkdir()
        if (home / signing.FOLDER).exists():  # before the log, ahead of which it never is
            copy_still(home / signing.FOLDER, folder / signing.FOLDER)
        keep_backup(connection, target, datetime.now(UTC))  # before: the copy knows it, too
        dump(postgres.server_url(url, home), folder / _OURS, SCHEMA)
        if find_mlflow(settings, connection):
            dump(postgres.server_url(url, home, MLFLOW), folder / _MLFLOW, "public")
        for store in sorted(home.iterdir()) if home.is_dir() else ():
            if store.name == SPOOL:  # the service appends to it all the time
                copy(store, folder / store.name)
            elif not _is_left_out(store.name, settings):
                copy_still(store, folder / store.name)
        leave_begun(folder)
        fetch(settings, folder)
        manifest = _describe(connection, folder, bool(was_finished(connection, settings)))
        write_manifest(folder, manifest)
        verify(folder, manifest)
    return manifest


def _is_left_out(name: str, settings: Settings) -> bool:
    """The server, which is dumped; what is on others or there; damaged files; what none misses."""
    left = name.partition(".")[0] == _SERVER or name in on_servers(settings)
    there = DAMAGED in name or name == signing.FOLDER
    return left or there or name.startswith((cache.FILE, online.VISITS))


def restore(settings: Settings, source: Path, notify: Callable[[str], None]) -> Manifest:
    """Make the home that a backup was made of, and fill the servers that are set.

    The home must not exist, or be empty; so must be the servers. The backup is verified first. The
    home gets its name when all of it is there. After a kill the same restore goes on.

    Raises:
        SettingError: a file is outside the home, or MLflow's records out of reach.
        StoreError: the folder is no backup, a newer one or damaged; home or server is not empty.
    """
    _refuse_elsewhere(settings)
    source, home, url = source.expanduser().resolve(), settings.home, secret(settings.postgres_url)
    manifest = read_manifest(source)
    refuse_newer(source, manifest, _migrations())
    _refuse_used(home)
    verify(source, manifest)
    if url is None:
        _restore(settings, source, manifest, begun=False)
        return manifest
    with (
        postgres.connect(url, home) as connection,
        turn(connection, notify),
        claimed(connection, hash_file(source / NAME)[:16]) as begun,
    ):
        _restore(settings, source, manifest, begun=begun)
    return manifest


def _restore(settings: Settings, source: Path, manifest: Manifest, *, begun: bool) -> None:
    with whole_folder(settings.home, postgres.stop) as partial:
        _copy_files(source, manifest, partial)
        url, local = secret(settings.postgres_url), load_settings(home=partial)
        with postgres.connect(url, partial) as connection:
            if (source / _MLFLOW).exists():
                find_mlflow(settings, connection)
                load_mlflow(settings, partial, source / _MLFLOW, begun=begun)
            place(settings, partial)
            for name in on_servers(settings):
                remove(partial / name)
            backup = {"made_at": manifest.created_at, "manifest": hash_file(source / NAME)}
            entry = Entry(settings.actor, "restore", "home", str(settings.home), backup)
            load_ours(connection, source / _OURS, entry)
            anchor.follow(connection, partial, settings.actor, shared=True)
            if manifest.finished:
                adopt_finish(connection, local)
        postgres.stop(partial)


def _copy_files(source: Path, manifest: Manifest, home: Path) -> None:
    for name in manifest.folders:
        (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in manifest.files:
        if not file.path.startswith(f"{_SERVER}/"):
            restored = Path(shutil.copyfile(source / file.path, home / file.path))
            restored.chmod(0o600)
            os.utime(restored, ns=(file.modified_ns, file.modified_ns))
    for name, end in manifest.links.items():
        (home / name).symlink_to(end)


def _refuse_elsewhere(settings: Settings) -> None:
    for name in _ELSEWHERE:
        value = getattr(settings, name)
        if value and not value.is_relative_to(settings.home):
            raise SettingError(
                "the store is outside the home, and a backup is a copy of the home",
                where=str(type(settings).model_fields[name].validation_alias),
                do="Back it up by its own means; unset the variable where it lies in the home",
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
