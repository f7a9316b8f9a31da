"""Commands of the models."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ml_assets.cli.app import Json, app, clear_errors, out
from ml_assets.console.models import predictions
from ml_assets.settings import load_settings


@app.command()
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts to label.")],
    as_json: Json = False,
) -> None:
    """Label texts with the champion model, with probabilities.

    Example: ml-assets predict "Return the absolute value of a number."
    """
    with clear_errors():
        from ml_assets.registry.serving import predict as predict_texts

        answers = predict_texts(load_settings(), texts)
        if as_json:
            out.print_json(json.dumps(answers))
        else:
            out.print(predictions(texts, answers))
