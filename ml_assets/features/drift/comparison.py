"""Two samples compared, feature by feature: what drifted, by effect size and significance both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ml_assets.features.drift.effects import (
    Difference,
    adjusted,
    categorical_difference,
    domain_difference,
    numeric_difference,
    shares_difference,
    surplus_difference,
)
from ml_assets.features.drift.summary import Summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Aspect = Literal["distribution", "missing", "domain", "repeated"]
Outcome = Literal["drift", "no drift", "cannot tell", "nothing to compare"]

MIN_ROWS = 200
"""With fewer known values on a side nothing is said of a feature: the PSI of equal samples would
come near its limit by chance."""

MOST_VECTORS = 1_000
"""Vectors of a side that the domain classifier sees, at most."""

FALSE_DISCOVERIES = 0.05
"""Of the drifts that are named in a comparison, the share that may be chance."""

LIMITS: Mapping[str, float] = {
    "psi": 0.1,
    "wasserstein": 0.25,
    "missing": 0.05,
    "domain": 0.1,
    "repeated": 0.05,
}
"""Effects that count as drift, each the strength 1: PSI; standard deviations; shares of rows that
are missing and that repeat another; AUC above .5."""


@dataclass(frozen=True, eq=False)
class Sample:
    """What a window holds: `rows` documents (or other entities), and what is known of them.

    `features`: summaries by the name of the feature. `vectors`: (n, d) of some of the documents.
    `groups`: how many groups of equal rows there are, by their size. Empty where it is not known.
    """

    rows: int
    features: Mapping[str, Summary] = field(default_factory=dict)
    vectors: NDArray[np.float32] | None = None
    groups: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One aspect of one feature in two samples.

    `strength` is the largest effect, as a multiple of its limit. `before` and `now` say in words
    what the samples have.
    """

    feature: str
    aspect: Aspect
    test: str
    psi: float | None
    wasserstein: float | None
    effect: float
    strength: float
    p_value: float
    q_value: float
    drifted: bool
    before: str
    now: str

    def __str__(self) -> str:
        """One line: what, how strong, and from what to what."""
        what = {"missing": " missing", "repeated": " repeated"}.get(self.aspect, "")
        return (
            f"{self.feature}{what} {self.strength:.1f} times its limit ({self.before} → {self.now})"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came, compared with a reference; findings strongest first, what drifted before the rest.

    `before` and `now`: what was compared, by the name of the feature; it is not kept.
    """

    outcome: Outcome
    message: str
    reference_rows: int = 0
    current_rows: int = 0
    findings: tuple[Finding, ...] = ()
    before: Mapping[str, Summary] = field(default_factory=dict, compare=False)
    now: Mapping[str, Summary] = field(default_factory=dict, compare=False)

    @property
    def drifted(self) -> tuple[Finding, ...]:
        """What drifted."""
        return tuple(each for each in self.findings if each.drifted)

    @property
    def strength(self) -> float:
        """The strength of the worst drift; 0 without any."""
        return max((each.strength for each in self.drifted), default=0.0)


def compare(reference: Sample, current: Sample, seed: int = 0) -> Comparison:
    """Compare two samples that have no row in common.

    Features that either lacks, or of which either knows fewer than `MIN_ROWS`, are left out.
    """
    if not reference.rows or not current.rows:
        which = "the reference has no rows" if current.rows else "nothing came"
        return Comparison("nothing to compare", which, reference.rows, current.rows)
    measured = list(_differences(reference, current, seed))
    if not measured:
        message = f"{current.rows:,} rows against {reference.rows:,}: {MIN_ROWS} of both are needed"
        return Comparison("cannot tell", message, reference.rows, current.rows)
    q_values = adjusted([difference.p_value for *_, difference in measured])
    findings = sorted(
        (_finding(*each, q) for each, q in zip(measured, q_values, strict=True)),
        key=lambda finding: (not finding.drifted, -finding.strength),
    )
    drifted = [finding for finding in findings if finding.drifted]
    message = f"{len(findings)} aspects compared, {len(drifted)} drifted"
    return Comparison(
        outcome="drift" if drifted else "no drift",
        message=message,
        reference_rows=reference.rows,
        current_rows=current.rows,
        findings=tuple(findings),
        before=reference.features,
        now=current.features,
    )


_Measured = tuple[str, Aspect, str, str, Difference]
"""Feature, aspect, what it was before and is now in words, and the difference."""


def _differences(reference: Sample, current: Sample, seed: int) -> Iterator[_Measured]:
    for name, before in reference.features.items():
        now = current.features.get(name)
        if now is None or now.numeric != before.numeric:
            continue
        if min(before.known, now.known) >= MIN_ROWS:
            compared = numeric_difference if before.numeric else categorical_difference
            words = _numbers if before.numeric else _commonest
            shown = words(before, now)
            yield name, "distribution", *shown, compared(before, now)
        if min(before.rows, now.rows) >= MIN_ROWS and before.missing + now.missing:
            difference = shares_difference(before.missing, before.rows, now.missing, now.rows)
            yield (
                name,
                "missing",
                _share(before.missing, before.rows),
                _share(now.missing, now.rows),
                difference,
            )
    if domain := _domain(reference.vectors, current.vectors, seed):
        auc = f"AUC {0.5 + (domain.effect or 0):.2f}"
        yield "embedding", "domain", "AUC 0.50", auc, domain
    if min(reference.rows, current.rows) >= MIN_ROWS and reference.groups and current.groups:
        difference, shares = surplus_difference(reference.groups, current.groups)
        first, second = (f"{share:.1%}" for share in shares)
        yield "rows", "repeated", first, second, difference


def _domain(
    before: NDArray[np.float32] | None, now: NDArray[np.float32] | None, seed: int
) -> Difference | None:
    if before is None or now is None or min(len(before), len(now)) < MIN_ROWS:
        return None
    return domain_difference(before, now, seed)


def _finding(
    feature: str, aspect: Aspect, before: str, now: str, difference: Difference, q_value: float
) -> Finding:
    effects = {"psi": difference.psi, "wasserstein": difference.wasserstein}
    effects[aspect] = difference.effect
    strengths = {
        name: abs(effect) / LIMITS[name] for name, effect in effects.items() if effect is not None
    }
    largest = max(strengths, key=lambda name: strengths[name])
    effect = effects[largest]
    return Finding(
        feature=feature,
        aspect=aspect,
        test=difference.test,
        psi=difference.psi,
        wasserstein=difference.wasserstein,
        effect=effect or 0.0,
        strength=strengths[largest],
        p_value=difference.p_value,
        q_value=q_value,
        drifted=strengths[largest] >= 1 and q_value <= FALSE_DISCOVERIES,
        before=before,
        now=now,
    )


def _numbers(before: Summary, now: Summary) -> tuple[str, str]:
    shown = [f"mean {each.mean:.4g} ± {each.deviation:.4g}" for each in (before, now)]
    return shown[0], shown[1]


def _commonest(before: Summary, now: Summary) -> tuple[str, str]:
    """The share of the category whose share changed most, on both sides."""

    def share(name: str, summary: Summary) -> float:
        return summary.counts.get(name, 0) / summary.known

    names: list[str] = sorted({*before.counts, *now.counts})
    name = max(names, key=lambda each: abs(share(each, now) - share(each, before)))
    shown = [f"{name!r} {share(name, each):.1%}" for each in (before, now)]
    return shown[0], shown[1]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}"
