"""Labels that are probably wrong: by confident learning, and by documents that say the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEAR = 0.05
"""1 - cosine up to which two documents are near duplicates."""


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """A document whose label is probably wrong, and the label that it should rather have.

    `confidence` is the probability of the suggested label that a model gave which had not seen the
    document, or the cosine to the near duplicate that has it.
    """

    document_id: str
    label: str
    suggested: str
    confidence: float
    kind: Literal["unlikely label", "near duplicate"]
    why: str


@dataclass(frozen=True, slots=True)
class AmbiguousPair:
    """Two labels that are mistaken for each other.

    About so many `documents` have one and should have the other, a `share` of all that have either.
    """

    label: str
    other: str
    documents: int
    share: float


def unlikely_labels(
    document_ids: Sequence[str],
    truth: Sequence[str],
    probabilities: NDArray[np.float64],
    labels: Sequence[str],
) -> list[LabelIssue]:
    """The documents that a model which had not seen them takes for those of another label.

    Confident learning (Northcutt, Jiang and Chuang, "Confident Learning", JAIR 70, 2021): a label
    is in doubt where another reaches the mean probability that its own documents give it. So many
    are estimated to be wrong, and named are those to whose labels the model gives least, the least
    first.

    `probabilities`, shape (documents, labels), are out of sample.
    """
    import numpy as np
    from cleanlab.filter import find_label_issues

    given = _positions(truth, labels)
    if len(set(given.tolist())) < 2:
        return []
    ranked = find_label_issues(
        given,
        probabilities,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    issues = []
    for place in ranked:
        own, best = probabilities[place, given[place]], int(np.argmax(probabilities[place]))
        if best == given[place]:
            continue
        issues.append(
            LabelIssue(
                document_id=document_ids[place],
                label=truth[place],
                suggested=labels[best],
                confidence=float(probabilities[place, best]),
                kind="unlikely label",
                why=f"a model that had not seen it gives {labels[best]!r} a probability of"
                f" {probabilities[place, best]:.2f}, and {truth[place]!r} one of {own:.2f}",
            )
        )
    return issues


def ambiguous_pairs(
    truth: Sequence[str], probabilities: NDArray[np.float64], labels: Sequence[str]
) -> list[AmbiguousPair]:
    """The pairs of labels whose documents are confidently taken for each other, the worst first.

    From the off-diagonal entries of the confident joint, calibrated to the number of documents of
    each label (as above, section 3.1). Pairs that share less than one document are left out.
    """
    import numpy as np
    from cleanlab.count import compute_confident_joint

    given = _positions(truth, labels)
    if len(set(given.tolist())) < 2:
        return []
    joint = compute_confident_joint(given, probabilities)
    both = joint + joint.T
    size = np.bincount(given, minlength=len(labels))
    pairs = [
        AmbiguousPair(
            labels[first], labels[second], int(count), float(count / (size[first] + size[second]))
        )
        for first, second in zip(*np.nonzero(np.triu(both, 1)), strict=True)
        for count in [both[first, second]]
    ]
    return sorted(pairs, key=lambda pair: (-pair.documents, pair.label, pair.other))


def conflicting_duplicates(
    document_ids: Sequence[str],
    truth: Sequence[str],
    words: Sequence[Hashable],
    nearest: Mapping[str, tuple[str, float]],
) -> list[LabelIssue]:
    """The documents that say the same as another with another label, the nearest first.

    The same: equal `words`, or a cosine distance up to `NEAR`, as `nearest` has it of some
    documents: the nearest other one, and 1 - cosine to it. Of equal words, the label that most of
    the documents have is taken for the right one; where none has more, each is told.
    """
    label_of = dict(zip(document_ids, truth, strict=True))
    issues = {issue.document_id: issue for issue in _near(label_of, nearest)}
    same: dict[Hashable, list[str]] = defaultdict(list)
    for name, key in zip(document_ids, words, strict=True):
        same[key].append(name)
    for members in same.values():
        counts = Counter(label_of[name] for name in members)
        example = {label_of[name]: name for name in reversed(members)}
        for name in members:
            others = [label for label, _ in counts.most_common() if label != label_of[name]]
            if others and counts[label_of[name]] <= counts[others[0]]:
                issues[name] = _conflict(
                    label_of, name, example[others[0]], 1.0, "has the words of"
                )
    told = [issues[name] for name in document_ids if name in issues]
    return sorted(told, key=lambda issue: -issue.confidence)


def _near(
    label_of: Mapping[str, str], nearest: Mapping[str, tuple[str, float]]
) -> Iterator[LabelIssue]:
    for name, (other, distance) in nearest.items():
        known = name in label_of and other in label_of
        if known and distance <= NEAR and label_of[name] != label_of[other]:
            yield _conflict(label_of, name, other, 1 - distance, "says nearly the same as")


def _conflict(
    label_of: Mapping[str, str], name: str, other: str, cosine: float, how: str
) -> LabelIssue:
    label, suggested = label_of[name], label_of[other]
    why = f"it {how} {other}, which has the label {suggested!r}"
    return LabelIssue(name, label, suggested, cosine, "near duplicate", why)


def _positions(truth: Sequence[str], labels: Sequence[str]) -> NDArray[np.intp]:
    import numpy as np

    places = {label: place for place, label in enumerate(labels)}
    return np.array([places[label] for label in truth], dtype=np.intp)
