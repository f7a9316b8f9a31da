"""Commands that ask what is served: the search, answers from it, and the champion."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.text import Text

from ml_assets.cli.app import Json, command, out, show, tell, tell_what_is_left_behind
from ml_assets.console.layout import printable
from ml_assets.console.queries import hits, predictions, sources
from ml_assets.errors import UserError
from ml_assets.search.filters.language import NO_FILTER

if TYPE_CHECKING:
    from ml_assets.answers.model import Sentence
    from ml_assets.registry.serving import Prediction
    from ml_assets.search.answering.model import Method
    from ml_assets.session import Session

_TOGETHER = 256
_ONE_KIND = "Give texts, or --file with a file of one text per line (- is standard input)"


@command
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    limit: Annotated[int, typer.Option("--limit", "-k", help="Documents to show.")] = 10,
    method: Annotated[str, typer.Option(help="hybrid, vector or keyword.")] = "hybrid",
    collection: Annotated[
        list[str] | None, typer.Option(help="Only this collection (repeatable).")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only this label (repeatable).")] = None,
    since: Annotated[str | None, typer.Option(help="Created at or after this date.")] = None,
    until: Annotated[str | None, typer.Option(help="Created before this date.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="key=value of the metadata (repeatable).")
    ] = None,
    written: Annotated[
        str | None,
        typer.Option(
            "--filter", help="A condition on collection, label, created_at, metadata.<key>."
        ),
    ] = None,
    min_relevance: Annotated[
        float,
        typer.Option(
            "--min-relevance", min=0, max=1, help="Only what is so relevant; 0 to 1, any query."
        ),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Search the published generation: keyword and vector, fused.

    Example: ml-assets search "how do I parse command line arguments" --where kind=class

    All options have to hold. A filter is made of = != < <= > >= in, not, and, or, parentheses:
    --filter 'label in ("Networking", "Text") and not (metadata.kind = "class")'
    Ranges are on numbers of the metadata and on created_at; other dates are texts, without order.
    """
    from ml_assets.search.filters.parse import condition_of, format_condition
    from ml_assets.session import open_session

    chosen = condition_of(collection, label, since, until, where, written)
    with open_session() as session:
        tell_what_is_left_behind(session.settings)
        result = session.search(
            query,
            k=limit,
            method=cast("Method", method),
            filters=chosen,
            min_relevance=min_relevance,
        )
    shown = {**asdict(result), "filters": format_condition(chosen)}
    show(shown, lambda: hits(result), as_json=as_json)


@command
def ask(
    question: Annotated[str, typer.Argument(help="A question to the documents.")],
    passages: Annotated[
        int, typer.Option("--passages", "-k", help="Passages to answer from, 1 to 20.")
    ] = 5,
    written: Annotated[
        str | None,
        typer.Option(
            "--filter", help="A condition on collection, label, created_at, metadata.<key>."
        ),
    ] = None,
    extractive: Annotated[
        bool, typer.Option("--extractive", help="Show passages; ask no language model.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer a question from the published documents, and cite them.

    Example: ml-assets ask "how do I parse command line arguments"

    The model of LLM_URL and LLM_MODEL writes the answer; without one, it is parts of the passages.
    Each sentence has the numbers of the passages it cites, and says when a citation is none. When
    nothing that is found is relevant, no model is asked.
    """
    from ml_assets.session import open_session

    def tell(sentence: Sentence) -> None:
        if not as_json:
            out.print(Text(printable(str(sentence))), soft_wrap=True)

    with open_session() as session:
        tell_what_is_left_behind(session.settings)
        answer = session.answer(
            question,
            k=passages,
            filters=written or NO_FILTER,
            extractive=extractive,
            on_sentence=tell,
        )
    shown = {"text": answer.text, **asdict(answer)}
    show(shown, lambda: sources(answer), as_json=as_json)


@command
def predict(
    texts: Annotated[list[str] | None, typer.Argument(help="One or more texts to label.")] = None,
    lines: Annotated[
        typer.FileText | None,
        typer.Option("--file", help="Label each line of this file; - is standard input."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="What the texts are of, as in author_id=7 (repeatable)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Label texts with the champion model, with probabilities.

    Example: ml-assets predict "Return the absolute value of a number."

    With --file the answers are JSON Lines, one for each line that is not blank. A model that was
    trained with features of an author, say, is told the author by --metadata.
    """
    from ml_assets.session import open_session

    if bool(texts) == bool(lines):
        raise UserError("there is no text, or there are two kinds of it", do=_ONE_KIND)
    own = _pairs(metadata or ())
    with open_session() as session:
        if lines:
            try:
                _predict_lines(session, lines, own)
            except UnicodeDecodeError as error:
                what = f"it is not UTF-8 ({error.reason})"
                raise UserError(what, where=lines.name, do="Convert it, and try again") from None
            return
        given = session.predictions(texts or (), [own for _ in texts or ()])
    _tell_unknown(given)
    answers = [each.probabilities for each in given]
    show(answers, lambda: predictions(texts or (), answers), as_json=as_json)


def _predict_lines(session: Session, lines: Iterable[str], own: Mapping[str, str]) -> None:
    """Answer as many lines at a time as are encoded together: a file may be of any length."""
    texts = (line.strip() for line in lines if line.strip())
    told = False
    while batch := list(islice(texts, _TOGETHER)):
        given = session.predictions(batch, [own for _ in batch])
        if not told:  # all lines are of the same author
            _tell_unknown(given)
            told = True
        for text, answer in zip(batch, given, strict=True):
            label = next(iter(answer.probabilities))
            row = {"text": text, "label": label, "probabilities": answer.probabilities}
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _tell_unknown(given: Iterable[Prediction]) -> None:
    """What the model was trained with, and is not known of these texts: each reason once."""
    for view, why in dict.fromkeys(pair for each in given for pair in each.unknown.items()):
        tell(f"Not known: {view}, since {why}; the medians of the training set take its place")


def _pairs(written: Iterable[str]) -> dict[str, str]:
    """What `--metadata` gives, by key."""
    pairs = {}
    for each in written:
        key, sign, value = each.partition("=")
        if not (key and sign):
            raise UserError(f"{each!r} has no key", where="--metadata", do="Write author_id=7")
        pairs[key] = value
    return pairs
