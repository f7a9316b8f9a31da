"""From found passages to an answer: refused, or taken from them, or written and then checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ml_assets.answers.citations import check_sentence
from ml_assets.answers.llm import Ended, LanguageModel, generate
from ml_assets.answers.model import Answer, Kind, Passage, Sentence
from ml_assets.answers.prompt import MOST_CHARACTERS, write_prompt
from ml_assets.answers.sentences import SentenceReader
from ml_assets.errors import UserError
from ml_assets.search.answering.model import Hit, SearchResult
from ml_assets.settings import Settings

MOST_PASSAGES = 20

_IRRELEVANT = "Not answered: no passage that was found is relevant enough"
_UNTOLD = (
    "Not answered: the embedding model does not know the script of the question, so how relevant"
    " a passage is cannot be told. Set ML_ASSETS_EMBEDDING_MODEL to a multilingual model"
)
_NOT_THERE = "Not answered: the language model found no answer in the passages"
_EXTRACTS = "No language model was asked: these are parts of the passages"
_WRITTEN = "Written by the language model {name} from the passages"
_ENDS = {"stop": "", "length": "; it was cut off: raise ML_ASSETS_ANSWER_TOKENS"}
_BROKEN = "; it broke off before its end"


@dataclass(frozen=True, slots=True)
class Grounds:
    """What an answer can rest on; `is_enough` False: nothing that was found is relevant."""

    question: str
    passages: tuple[Passage, ...]
    generation_id: str
    is_enough: bool


def check_question(question: str, k: int) -> None:
    """Refuse what cannot be answered, before anything is searched.

    Raises:
        UserError: the question is too long, or `k` is not in 1..20.
    """
    if len(question) > MOST_CHARACTERS:
        what = f"the question has {len(question):,} characters"
        raise UserError(what, where="ask", do=f"Ask with {MOST_CHARACTERS:,} at most")
    if not 1 <= k <= MOST_PASSAGES:
        what = f"{k} passages were asked for"
        raise UserError(what, where="--passages", do=f"Ask for 1 to {MOST_PASSAGES}")


def gather(question: str, result: SearchResult, settings: Settings) -> Grounds:
    """The passages of a search by this question, and whether they are relevant enough to answer.

    Retrieval alone decides that, before a language model is asked: models answer anything.
    """
    passages = tuple(_passage(n, hit) for n, hit in enumerate(result.hits, start=1))
    best = max((passage.relevance or 0.0 for passage in passages), default=0.0)
    is_enough = bool(passages) and best >= settings.answer_min_relevance
    return Grounds(question, passages, result.generation_id, is_enough)


def respond(
    grounds: Grounds, model: LanguageModel | None, settings: Settings
) -> Iterator[Sentence | Answer]:
    """Yield the sentences as they are whole and checked, and at last the answer.

    Without a `model` they are the snippets of the passages.

    Raises:
        LanguageModelError: the model does not answer.
        UserError: the question and a passage do not fit into the context of the settings.
    """
    if not grounds.is_enough:
        is_told = any(passage.relevance is not None for passage in grounds.passages)
        notice = _IRRELEVANT if is_told or not grounds.passages else _UNTOLD
        yield _answer(grounds, "refused", (), notice)
    elif model is None:
        sentences = [Sentence(each.snippet, (each.number,), "cited") for each in grounds.passages]
        yield from sentences
        yield _answer(grounds, "extractive", sentences, _EXTRACTS)
    else:
        yield from _generated(grounds, model, settings)


def answered(
    parts: Iterator[Sentence | Answer], on_sentence: Callable[[Sentence], None] | None = None
) -> Answer:
    """The answer at the end; the sentences before it are told."""
    for part in parts:
        if isinstance(part, Answer):
            return part
        if on_sentence:
            on_sentence(part)
    raise AssertionError("the last part is the answer")


def _generated(
    grounds: Grounds, model: LanguageModel, settings: Settings
) -> Iterator[Sentence | Answer]:
    tokens = settings.answer_tokens
    prompt = write_prompt(grounds.question, grounds.passages, settings.answer_context - tokens)
    given = {passage.number: passage for passage in prompt.passages}
    reader, sentences, ended = SentenceReader(), list[Sentence](), Ended()
    for piece in generate(model, prompt.messages, prompt.schema, tokens):
        if isinstance(piece, Ended):
            ended = piece
            continue
        for written in reader.feed(piece):
            sentence = check_sentence(written.text, written.numbers, given)
            if sentence.text:
                sentences.append(sentence)
                yield sentence
    if rest := reader.rest():  # not in the form that was asked for
        sentences.append(check_sentence(rest, (), given))
        yield sentences[-1]
    complete = ended.reason == "stop"
    notice = _WRITTEN.format(name=model.name) + _ENDS.get(ended.reason, _BROKEN)
    kind: Kind = "generated"
    if complete and not sentences:
        kind, notice = "refused", _NOT_THERE
    given_alone = replace(grounds, passages=grounds.passages[: len(given)])
    yield replace(
        _answer(given_alone, kind, sentences, notice),
        model=model.name,
        complete=complete,
        prompt_tokens=ended.prompt_tokens,
        answer_tokens=ended.answer_tokens,
    )


def _answer(grounds: Grounds, kind: Kind, sentences: Sequence[Sentence], notice: str) -> Answer:
    passages = grounds.passages if kind != "refused" else ()
    return Answer(grounds.question, kind, tuple(sentences), passages, notice, grounds.generation_id)


def _passage(number: int, hit: Hit) -> Passage:
    return Passage(
        number,
        hit.document_id,
        hit.chunk_index,
        hit.title,
        hit.url,
        hit.collection,
        hit.start_offset,
        hit.end_offset,
        hit.relevance,
        hit.text,
        hit.snippet,
    )
