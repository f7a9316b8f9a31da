"""Commands of backups: copy the home, and make a home of a copy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ml_assets.cli.app import command, out, tell
from ml_assets.settings import load_settings

if TYPE_CHECKING:
    from ml_assets.operations.manifest import Manifest


@command
def backup(folder: Annotated[Path, typer.Argument(help="A new folder for the copy.")]) -> None:
    """Copy the home, with every store of it, embedded or on a server, into a new folder.

    Readers go on. It waits for a run that writes, and runs wait for it. The folder is there when
    all is written and verified, and not before.
    """
    from ml_assets.operations.backup import back_up

    settings = load_settings()
    manifest = back_up(settings, folder, tell)
    _report("Backed up", settings.home, folder, manifest)


@command
def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `ml-assets backup` wrote.")],
) -> None:
    """Make the home of a backup: at ML_ASSETS_HOME, where nothing is yet.

    What has the URL of a server goes there; the servers must be empty. Every file is verified
    first. pgvector's indexes are built again. A run then goes on from where the backup was taken.
    """
    from ml_assets.operations.backup import restore as restore_home

    settings = load_settings()
    manifest = restore_home(settings, folder, tell)
    _report("Restored", folder, settings.home, manifest)


def _report(verb: str, source: Path, target: Path, manifest: Manifest) -> None:
    what = f"{len(manifest.files)} files, {manifest.size / 2**20:.1f} MiB, verified"
    line = f"{verb} {source} to {target}: {what}; of {manifest.created_at}."
    out.print(escape(line), soft_wrap=True, highlight=False)
