"""How much of what judges call relevant answers cite, and how often questions are refused.

`python -m bench.answers --home HOME` asks the judged queries of the home's source, and questions
to which its documents have no answer (`unanswerable.jsonl`): half of them far from its subjects,
half near (other languages and libraries). All is measured on the extractive path, where retrieval
alone decides. The threshold is chosen on the tuning halves, and told of the reporting halves.
`--json FILE` keeps the figures; `--questions FILE` has questions for another source.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

from ml_assets.documents.sources.open import open_source
from ml_assets.session import Session, open_session
from ml_assets.settings import load_settings

QUESTIONS = Path(__file__).with_name("unanswerable.jsonl")
PASSAGES = 5


@dataclass(frozen=True)
class Asked:
    """A question: how relevant the best passage is, what is cited, and what judges call relevant.

    `kind`: judged, far or near.
    """

    question: str
    kind: str
    half: str
    best: float
    cited: Sequence[str] = ()
    relevant: Mapping[str, int] = field(default_factory=dict)

    @property
    def recall(self) -> float:
        """The part of the relevant documents that is cited; of so many, as many as can be."""
        relevant = {document for document, grade in self.relevant.items() if grade > 0}
        return len(relevant & set(self.cited)) / min(len(relevant), PASSAGES)


@dataclass(frozen=True)
class Figures:
    """What a threshold does to the questions of a half: parts of 1.

    `recall` counts a judged question that was refused as 0; `hit` are those that cite anything
    relevant.
    """

    half: str
    judged: int
    unanswerable: int
    answered: float
    recall: float
    hit: float
    refused: float
    refused_far: float
    refused_near: float


def ask_all(session: Session, questions: Path) -> Iterator[Asked]:
    """Every judged query of the source that has an answer, and every question of the file."""
    source = open_source(session.settings.source, session.settings)
    for query in source.judged_queries() or ():
        if max(query.relevant.values(), default=0) > 0:
            yield _ask(session, query.text, "judged", query.half, query.relevant)
    for line in questions.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield _ask(session, row["question"], row["kind"], row["half"], {})


def choose(asked: Iterable[Asked]) -> float:
    """The threshold with most judged questions answered and most others refused, in the mean.

    That is where Youden's J is highest (W. J. Youden, "Index for rating diagnostic tests", 1950);
    of several, the middle of the widest gap.
    """
    asked = list(asked)
    values = sorted({0.0, *(each.best for each in asked), 1.0})
    gaps = list(itertools.pairwise(values))

    def gain(gap: tuple[float, float]) -> tuple[float, float]:
        figures = figures_of(asked, (gap[0] + gap[1]) / 2, "")
        return figures.answered + figures.refused, gap[1] - gap[0]

    low, high = max(gaps, key=gain)
    return (low + high) / 2


def figures_of(asked: Sequence[Asked], threshold: float, half: str) -> Figures:
    """The figures of a half ("": of all) with this threshold."""
    chosen = [each for each in asked if half in ("", each.half)]
    judged = [each for each in chosen if each.kind == "judged"]
    others = [each for each in chosen if each.kind != "judged"]

    def refused(kind: str = "") -> float:
        return _mean(each.best < threshold for each in others if kind in ("", each.kind))

    return Figures(
        half or "all",
        len(judged),
        len(others),
        answered=_mean(each.best >= threshold for each in judged),
        recall=_mean(each.recall if each.best >= threshold else 0.0 for each in judged),
        hit=_mean(each.best >= threshold and each.recall > 0 for each in judged),
        refused=refused(),
        refused_far=refused("far"),
        refused_near=refused("near"),
    )


def _ask(
    session: Session, question: str, kind: str, half: str, relevant: Mapping[str, int]
) -> Asked:
    answer = session.answer(question, k=PASSAGES, extractive=True)
    best = max((passage.relevance or 0.0 for passage in answer.passages), default=0.0)
    cited = [passage.document_id for passage in answer.cited]
    return Asked(question, kind, half, best, cited, relevant)


def _mean(values: Iterable[float]) -> float:
    counted = [float(value) for value in values]
    return fmean(counted) if counted else 0.0


def main() -> None:
    """Ask, choose, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, default=Path(".ml_assets"))
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = load_settings(home=given.home, answer_min_relevance=0.0)
    with open_session(settings) as session:
        asked = list(ask_all(session, given.questions))
    chosen = choose(each for each in asked if each.half == "tuning")
    default = type(settings).model_fields["answer_min_relevance"].default
    report = {
        name: [asdict(figures_of(asked, threshold, half)) for half in ("tuning", "reporting", "")]
        for name, threshold in {
            f"chosen {chosen:.3f}": chosen,
            f"default {default}": default,
        }.items()
    }
    for name, rows in report.items():
        print(f"threshold {name}")
        for row in rows:
            print("  " + "  ".join(f"{key} {_shown(value)}" for key, value in row.items()))
    if given.json:
        kept = {"figures": report, "asked": [asdict(each) for each in asked]}
        given.json.write_text(json.dumps(kept, indent=1))


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
