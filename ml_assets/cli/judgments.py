"""Commands of the judgments that people gave on the page of the service."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ml_assets.cli.app import app, command, out, reading

judgments = typer.Typer(
    no_args_is_help=True, help="Make judged queries of what people said of answers."
)
app.add_typer(judgments, name="judgments")


@partial(command, group=judgments, name="export")
def export(
    file: Annotated[Path, typer.Argument(help="The file to write; one of before is replaced.")],
) -> None:
    """Write the queries for which a document was found relevant, for tuning and measuring.

    With ML_ASSETS_JUDGED_QUERIES set to the file, the next run reads them beside those of the
    source. A document has the grade that most of those who judged it gave.
    """
    from ml_assets.documents.sources.judged import write_judged
    from ml_assets.errors import NothingToDoError
    from ml_assets.service.page.judgments import read_judged_queries

    with reading() as (_, connection):
        queries = read_judged_queries(connection)
    if not queries:
        what = "no document was found relevant yet"
        raise NothingToDoError(what, where="judgments", do="Judge results on the page")
    write_judged(queries, file)
    tuning = sum(query.half == "tuning" for query in queries)
    said = f"{len(queries)} judged queries were written, {tuning} of them for tuning."
    out.print(said, highlight=False)
