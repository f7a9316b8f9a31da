"""The command of the compliance report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ml_assets.cli.app import auditing, command, tell
from ml_assets.errors import SettingError


@command
def report(
    version: Annotated[int, typer.Argument(min=1, help="The number of a model version.")],
    to: Annotated[
        Path | None, typer.Option(help="A file, .md or .html, in place of standard output.")
    ] = None,
) -> None:
    """Write the compliance report of a model version, as Markdown or one HTML page.

    Purpose, owner, data, licences, lineage, metrics, slices, gates, approvals, drift, audit, open
    risks, how to go back. Example: ml-assets report 1 --to report.html
    """
    from ml_assets.operations.governance.lineage import Stores
    from ml_assets.operations.governance.report import as_html
    from ml_assets.operations.governance.report import report as written

    if to and to.suffix not in (".md", ".html"):
        raise SettingError(
            f"{to.name!r} ends with neither .md nor .html", where="--to", do="Name it so"
        )
    with auditing() as (settings, connection):
        text = written(Stores(connection, settings), version)
    if to is None:
        sys.stdout.write(text)
        return
    try:
        to.write_text(as_html(text) if to.suffix == ".html" else text, encoding="utf-8")
    except OSError as error:
        what = f"it cannot be written ({error.strerror})"
        raise SettingError(what, where=str(to), do="Name another file") from None
    tell(f"The report of version {version} is in {to}")
