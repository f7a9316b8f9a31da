"""The gates of promotion: one table of functions, each from a comparison to what it says of it.

A gate of your own is a function and a line of `GATES`: it is asked at every decision, and is a
check of the asset `champion_model`.
Not here: how a comparison is measured (`comparison`), and what follows from the gates
(`promotion`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ml_assets.features.drift.comparison import MIN_ROWS
from ml_assets.features.drift.comparison import Comparison as DriftComparison
from ml_assets.registry.noise import (
    Difference,
    calibration_noise,
    chance_score,
    f1_difference,
    is_loss,
    macro_f1,
    surer_of_what_is_right,
)
from ml_assets.releases.gates import Gate, Outcome
from ml_assets.releases.holds import alerts_gate
from ml_assets.settings import Settings
from ml_assets.training.evaluation import calibration_error, reliability

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BY_HAND = "or promote it by hand: `ml-assets publish VERSION --reason …`"
"""The way on where a gate cannot tell: a person can."""

NOTHING_CAME = DriftComparison("nothing to compare", "nothing came")

MIN_SLICE = 20
"""A slice with fewer test documents says nothing."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to n documents: the number of a label, (n,), and how sure it is, (n,)."""

    given: NDArray[np.intp]
    confidence: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What gates look at: a challenger and its rivals, on the same n test documents.

    No model was trained on any of these. `truth` and `groups` are numbers, (n,); labels have those
    of their place in `labels`, first those of the training set. `slices` are masks, (n,), by name.
    `seconds` of a processor are what an answer took, once per answer that was timed. `champion`
    None: `without` says why, and `stays` whether there is one that answers and cannot be compared.
    `not_online`: documents, by view, whose values the online store does not have as they are.
    `alerts`: the critical ones that are open. `forgotten`: documents that it was trained, chosen or
    tested on and that were forgotten since.
    `drift`: what came since the champion was trained and the training set does not have, beside it.
    """

    labels: tuple[str, ...]
    truth: NDArray[np.intp]
    groups: NDArray[np.intp]
    challenger: Answers
    baselines: Mapping[str, Answers]
    champion: Answers | None = None
    champion_name: str = "the champion"
    without: str = "there was no champion"
    stays: bool = False
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    seconds: NDArray[np.float64] | None = None
    lost_labels: tuple[str, ...] = ()
    lost_inputs: tuple[str, ...] = ()
    not_online: Mapping[str, int] = field(default_factory=dict)
    age_days: float = 0.0
    drift: DriftComparison = NOTHING_CAME
    alerts: tuple[str, ...] = ()
    forgotten: int = 0
    settings: Settings = field(default_factory=Settings)

    def against(self, rival: Answers) -> Difference:
        """The macro-F1 of the challenger and a rival, and the interval of their difference."""
        first, second, seed = self.challenger.given, rival.given, self.settings.seed
        return f1_difference(self.truth, first, second, self.groups, seed)

    def surer_than(self, rival: Answers) -> Difference:
        """How much nearer the challenger's confidence is to right and wrong than a rival's."""
        errors = [
            (model.confidence - (model.given == self.truth)) ** 2
            for model in (self.challenger, rival)
        ]
        return surer_of_what_is_right(errors[0], errors[1], self.groups)


class Verdict(NamedTuple):
    """What a gate says; its name is that of its function."""

    outcome: Outcome
    message: str
    numbers: Mapping[str, float]
    do: str = ""


def judge(comparison: Comparison) -> list[Gate]:
    """Ask every gate of the table."""
    return [Gate(gate.__name__, *gate(comparison)) for gate in GATES]


def passes(gates: Sequence[Gate]) -> bool:
    """Whether a run promotes: no gate blocks, and none cannot tell. A warning is told."""
    return all(gate.outcome in ("pass", "warn") for gate in gates)


def challenger_knows_something(compared: Comparison) -> Verdict:
    """Its answers are better than the same answers dealt out at random (permutation test)."""
    score = macro_f1(compared.truth, compared.challenger.given)
    chance = chance_score(compared.truth, compared.challenger.given, compared.settings.seed)
    numbers = {"challenger": score, "chance": chance, "documents": len(compared.truth)}
    if score > chance:
        return Verdict("pass", f"macro-F1 {score:.4f} is more than chance ({chance:.4f})", numbers)
    return Verdict(
        "cannot tell",
        f"macro-F1 {score:.4f} on {len(compared.truth)} documents may be chance, which reaches"
        f" {chance:.4f}",
        numbers,
        f"Add documents with labels, {_BY_HAND}",
    )


def challenger_beats_the_baselines(compared: Comparison) -> Verdict:
    """It has a better macro-F1 than the majority class and TF-IDF, on the same documents.

    Where so few documents cannot tell, the better one of the two warns; the others do not pass.
    """
    against = {name: compared.against(rival) for name, rival in compared.baselines.items()}
    name = min(against, key=lambda each: against[each].value)
    worst = against[name]
    numbers = {**{each: row.second for each, row in against.items()}, **_numbers(worst, compared)}
    if worst.low > 0:
        return Verdict("pass", f"{_beats(worst, name)}, {_interval(worst)}", numbers)
    if worst.first == worst.second == 1.0:
        return Verdict("warn", f"macro-F1 is 1 on these documents, as that of {name}", numbers)
    if worst.value > 0:
        return Verdict("warn", f"{_beats(worst, name)}, but {_interval(worst)}", numbers)
    outcome: Outcome = "block" if worst.high < 0 else "cannot tell"
    return Verdict(
        outcome,
        f"{_beats_not(worst, name)}, {_interval(worst)}",
        numbers,
        "Add documents with labels, or correct labels, and run `ml-assets run`"
        + (f", {_BY_HAND}" if outcome == "cannot tell" else ""),
    )


def challenger_beats_the_champion(compared: Comparison) -> Verdict:
    """It has a better macro-F1 than the champion, by the margin and by more than noise.

    More than noise: beyond the 95 % interval, or by more than one standard error where it is surer
    of what is right beyond the 95 % interval. By either, one of forty equals is better by chance,
    and one of twenty at most by both. Noise neither promotes nor blocks: it cannot tell, and the
    champion stays. A champion that cannot answer gives way to what beats the baselines.
    """
    margin, name = compared.settings.promotion_margin, compared.champion_name
    if compared.champion is None:
        numbers = {"challenger": macro_f1(compared.truth, compared.challenger.given)}
        if compared.stays:
            do = f"Add documents with labels that it was not trained on, {_BY_HAND}"
            return Verdict("cannot tell", compared.without, numbers, do)
        there_was = compared.without != Comparison.without
        return Verdict("warn" if there_was else "pass", compared.without, numbers)
    row = compared.against(compared.champion)
    surer = compared.surer_than(compared.champion)
    numbers = {
        "champion": row.second,
        "margin": margin,
        **_numbers(row, compared),
        "surer": surer.value,
        "surer_low": surer.low,
    }
    better = row.low > 0 or (row.value > row.error and surer.low > 0)
    if better and row.value > margin:
        told = f"{_beats(row, name)}, {_interval(row)}"
        if row.low <= 0:
            told += f", and it is surer of what is right, {_interval(surer)}"
        return Verdict("pass", told, numbers)
    worse = f"{_beats_not(row, name)}, {_interval(row)}"
    if row.high < 0:
        do = "Keep the champion, or train on more documents or better labels"
        return Verdict("block", worse, numbers, do)
    if better:
        too_little = f"{_beats(row, name)}, but not by {margin:g}"
        do = "Keep the champion, or lower ML_ASSETS_PROMOTION_MARGIN"
        return Verdict("block", too_little, numbers, do)
    enough = row.documents_to_tell(len(compared.truth))
    about = f", about {enough:,} in the test split" if enough else ""
    do = f"Keep the champion, add documents with labels{about}, {_BY_HAND}"
    return Verdict("cannot tell", f"{worse}: noise", numbers, do)


def no_slice_is_worse(compared: Comparison) -> Verdict:
    """In no collection, length or label is it less often right than its rival, by the limit.

    The rival is the champion, or else the better baseline. What chance explains in the worst of so
    many slices does not count.
    """
    import numpy as np

    rivals = compared.baselines.values() if compared.champion is None else [compared.champion]
    right = [rival.given == compared.truth for rival in rivals]
    rival, own = max(right, key=np.sum), compared.challenger.given == compared.truth
    slices = {name: inside for name, inside in compared.slices.items() if inside.sum() >= MIN_SLICE}
    losses = {name: _loss(rival, own, inside) for name, inside in slices.items()}
    worst = max(losses, key=lambda name: losses[name], default="")
    limit = compared.settings.max_slice_loss
    numbers = {"slices": len(slices), "limit": limit, "worst_loss": losses.get(worst, 0.0)}
    bad = [
        name
        for name, inside in slices.items()
        if losses[name] > limit
        and is_loss(
            int((own & ~rival & inside).sum()), int((rival & ~own & inside).sum()), len(slices)
        )
    ]
    if bad:
        names = ", ".join(
            f"{name} ({losses[name]:.3f} of {slices[name].sum()})" for name in bad[:3]
        )
        return Verdict(
            "block",
            f"it is less often right in {names}",
            numbers,
            "Add or correct labels there, or raise ML_ASSETS_MAX_SLICE_LOSS",
        )
    return Verdict(
        "pass", f"of {len(slices)} slices none is worse by {limit:g} beyond noise", numbers
    )


def confidence_is_calibrated(compared: Comparison) -> Verdict:
    """Its expected calibration error is within the limit, or what chance gives so few answers.

    Above that it keeps back what would replace a champion with a smaller one, else it warns.
    """
    settings = compared.settings
    limit, error = settings.max_calibration_error, _miscalibration(compared, compared.challenger)
    noise = calibration_noise(compared.challenger.confidence, settings.seed)
    numbers = {"calibration_error": error, "limit": limit, "noise": noise}
    if error <= max(limit, noise):
        return Verdict("pass", f"calibration error {error:.4f}", numbers)
    if compared.champion is None or _miscalibration(compared, compared.champion) >= error:
        return Verdict("warn", f"calibration error {error:.4f} is more than {limit:g}", numbers)
    return Verdict(
        "block",
        f"calibration error {error:.4f} is more than {limit:g}",
        numbers,
        "Add documents with labels, or raise ML_ASSETS_MAX_CALIBRATION_ERROR",
    )


def answers_in_time(compared: Comparison) -> Verdict:
    """Of a hundred answers, 99 take no more than the limit, in time of a processor."""
    import numpy as np

    limit = compared.settings.max_latency_ms
    if compared.seconds is None:
        return Verdict("pass", "it was not timed", {"limit": limit})
    half, most = (float(np.quantile(compared.seconds, share)) * 1e3 for share in (0.5, 0.99))
    numbers = {"p50_ms": half, "p99_ms": most, "limit": limit}
    if most <= limit:
        return Verdict("pass", f"p99 {most:.1f} ms", numbers)
    do = "Raise ML_ASSETS_MAX_LATENCY_MS, or promote a smaller model by hand"
    return Verdict("block", f"p99 {most:.1f} ms is more than {limit:g} ms", numbers, do)


def signature_is_compatible(compared: Comparison) -> Verdict:
    """It reads what is computed now, and has the labels of the champion, or that is told."""
    numbers = {"labels": len(compared.labels), "labels_lost": len(compared.lost_labels)}
    if compared.lost_inputs:
        return Verdict(
            "block",
            f"it reads what is no more computed: {', '.join(compared.lost_inputs)}",
            {**numbers, "inputs_lost": len(compared.lost_inputs)},
            "Run `ml-assets run`, which trains on what is computed now",
        )
    if compared.lost_labels:
        names = ", ".join(map(repr, compared.lost_labels[:5]))
        return Verdict("warn", f"it no longer answers {names}, as the champion does", numbers)
    return Verdict("pass", "inputs and labels are there", numbers)


def features_are_online(compared: Comparison) -> Verdict:
    """What it was trained on is served: the online store has the values that are offline."""
    behind = {name: count for name, count in compared.not_online.items() if count}
    if behind:
        views = ", ".join(f"{name} ({count} documents)" for name, count in behind.items())
        do = "Run `ml-assets run`, which writes them"
        return Verdict("block", f"the online store is behind in {views}", behind, do)
    return Verdict("pass", "online is as offline", dict.fromkeys(compared.not_online, 0))


def training_set_is_recent(compared: Comparison) -> Verdict:
    """Its training set was frozen within the limit."""
    days, limit = compared.age_days, compared.settings.max_training_set_days
    numbers = {"days": days, "limit": limit}
    if days <= limit:
        return Verdict("pass", f"it was frozen {days:.1f} days ago", numbers)
    do = "Bring its documents and labels up to date, or raise ML_ASSETS_MAX_TRAINING_SET_DAYS"
    return Verdict("block", f"its training set was frozen {days:.0f} days ago", numbers, do)


def documents_are_as_trained_on(compared: Comparison) -> Verdict:
    """What came since the champion was trained, and is not in the training set, is like it.

    Where it is not, the test documents are others than those that come: what was measured on them
    does not hold.
    """
    drift, limit = compared.drift, compared.settings.max_drift
    numbers = {"new_documents": drift.current_rows, "strength": drift.strength, "limit": limit}
    if not drift.drifted:
        few = f"{drift.current_rows} are fewer than {MIN_ROWS}, and not compared"
        told = drift.message if drift.outcome != "cannot tell" else few
        return Verdict("pass", told, numbers)
    named = "; ".join(map(str, drift.drifted[:3]))
    message = f"{drift.current_rows:,} documents that it was not trained on are others: {named}"
    if drift.strength < limit:
        return Verdict("warn", message, numbers)
    do = "Label some of them and run `ml-assets run`, or raise ML_ASSETS_MAX_DRIFT"
    return Verdict("block", message, numbers, do)


def no_critical_alert_is_open(compared: Comparison) -> Verdict:
    """No critical alert is open and not silenced: what is served is mended before it is changed."""
    gate = alerts_gate(compared.alerts)
    return Verdict(gate.outcome, gate.message, gate.numbers, gate.do)


def no_document_was_forgotten(compared: Comparison) -> Verdict:
    """No document that it learned from was forgotten since, or settings allow it."""
    numbers = {"forgotten_documents": compared.forgotten}
    if not compared.forgotten:
        return Verdict("pass", "none of its documents was forgotten", numbers)
    message = f"{compared.forgotten:,} of the documents that it learned from were forgotten since"
    if compared.settings.promote_forgotten:
        return Verdict("warn", message, numbers)
    do = "Train another: `ml-assets run`, or set ML_ASSETS_PROMOTE_FORGOTTEN=true"
    return Verdict("block", message, numbers, do)


def _miscalibration(compared: Comparison, model: Answers) -> float:
    return calibration_error(reliability(model.confidence, model.given == compared.truth))


def _numbers(row: Difference, compared: Comparison) -> dict[str, float]:
    return {
        "challenger": row.first,
        "difference": row.value,
        "low": row.low,
        "high": row.high,
        "documents": len(compared.truth),
    }


def _beats(row: Difference, rival: str) -> str:
    return f"macro-F1 {row.first:.4f} beats {rival} ({row.second:.4f})"


def _beats_not(row: Difference, rival: str) -> str:
    return f"macro-F1 {row.first:.4f} does not beat {rival} ({row.second:.4f})"


def _interval(row: Difference) -> str:
    return f"by {row.value:+.4f} (95 %: {row.low:+.4f} to {row.high:+.4f})"


def _loss(rival: NDArray[np.bool_], own: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    """How much less often it is right in a slice."""
    return float(rival[inside].mean() - own[inside].mean())


GATES: tuple[Callable[[Comparison], Verdict], ...] = (
    challenger_knows_something,
    challenger_beats_the_baselines,
    challenger_beats_the_champion,
    no_slice_is_worse,
    confidence_is_calibrated,
    answers_in_time,
    signature_is_compatible,
    features_are_online,
    training_set_is_recent,
    documents_are_as_trained_on,
    no_critical_alert_is_open,
    no_document_was_forgotten,
)
"""Asked in this order; the name of the function is that of the gate and of its check."""

PASSING = frozenset(
    gate.__name__
    for gate in (
        answers_in_time,
        features_are_online,
        training_set_is_recent,
        documents_are_as_trained_on,
        no_critical_alert_is_open,
    )
)
"""Gates on what may be otherwise at the next run, for the same models and settings."""
