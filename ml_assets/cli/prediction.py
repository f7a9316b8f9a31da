"""Commands of the models."""

from __future__ import annotations

from typing import Annotated

import typer

from ml_assets.cli.app import Json, app, clear_errors, show
from ml_assets.console.models import predictions


@app.command()
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts to label.")],
    as_json: Json = False,
) -> None:
    """Label texts with the champion model, with probabilities.

    Example: ml-assets predict "Return the absolute value of a number."
    """
    with clear_errors():
        from ml_assets.session import open_session

        with open_session() as session:
            answers = session.predict(texts)
        show(answers, lambda: predictions(texts, answers), as_json=as_json)
