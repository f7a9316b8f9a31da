"""Export of a fitted pipeline to ONNX, verified against the original on real rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.errors import first_line
from ml_assets.training.examples import TEXT
from ml_assets.training.families.average import Average
from ml_assets.training.families.base import Task
from ml_assets.training.families.inputs import TERMS
from ml_assets.training.onnx.model import PREPARATION, OnnxModel, Quantiles, Terms, refusals

if TYPE_CHECKING:
    from pandas import DataFrame
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-5
"""An export with another label, or a probability further from the original's, is not used."""

_OPSET = 17
_ROWS = 2_000
_AWKWARD = (
    "",
    "a . ! 1",
    "ZA\u017b\u00d3\u0141\u0106 G\u0118\u015aL\u0104 \u6f22\u5b57 \u0130stanbul stra\u00dfe",
    "caf\u00e9 cafe\u0301 \U0001f642 \u0915\u094d\u0937",
    "0x1F 3.14 1_000 snake_case __init__ x\u00b2 \u0663\u0664",
    "w" * 10_000,
    "the the the the return return value value value of of of " * 40,
    "tab\tline\r\nno\u00a0break\u2028separator\x00null",
)
"""Texts that take the place of a row's own: nothing to find, other scripts, digits, long words."""


@dataclass(frozen=True)
class Export:
    """The ONNX form of a model; `reason` says why there is none, and is empty where there is."""

    content: bytes = b""
    reason: str = ""

    @property
    def sha256(self) -> str:
        """The sha256 (hex) of the content, empty without one."""
        return hashlib.sha256(self.content).hexdigest() if self.content else ""


def export(model: Pipeline | Average, task: Task) -> Export:
    """Export `model`, and compare it with the original on rows of `task`, 2,000 at most."""
    try:
        content = _convert(model)
    except (RuntimeError, TypeError, ValueError) as error:
        name = type(model if isinstance(model, Average) else model[-1]).__name__
        return Export(reason=f"{name} does not convert ({first_line(error)})")
    try:
        reason = _compare(OnnxModel(content), model, task)
    except refusals() as error:
        reason = f"ONNX Runtime does not take it ({first_line(error)})"
    return Export(reason=reason) if reason else Export(content)


def _convert(model: Pipeline | Average) -> bytes:
    from onnx.helper import set_model_props

    if isinstance(model, Average):
        graphs, preparations = zip(*map(_graph, model.members), strict=True)
        graph, preparation = _joined(graphs, model), _shared(preparations)
    else:
        graph, preparation = _graph(model)
    set_model_props(graph, {PREPARATION: json.dumps(preparation)})
    return bytes(graph.SerializeToString())


def _shared(preparations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The preparation of all members, which were fitted on the same rows.

    Raises:
        ValueError: members read the same input in different ways.
    """
    shared: dict[str, Any] = {}
    for preparation in preparations:
        for name, value in preparation.items():
            if value is not None and shared.setdefault(name, value) != value:
                raise ValueError(f"its members prepare {name} in different ways")
    return {name: shared.get(name) for name in preparations[0]}


def _joined(graphs: Sequence[Any], model: Average) -> Any:
    """One graph of all: the mean of their probabilities by share, p^(1/T), made to sum to one."""
    from numpy import asarray, float32
    from onnx import TensorProto, compose, helper, numpy_helper

    kept = {"rename_inputs": False}
    members = [compose.add_prefix(each, f"m{i}_", **kept) for i, each in enumerate(graphs)]
    inputs = {each.name: each for member in members for each in member.graph.input}
    shares = model.shares or [1 / len(members)] * len(members)
    numbers = {f"share_{place}": share for place, share in enumerate(shares)}
    numbers["exponent"] = 1 / model.temperature
    parts = [f"part_{place}" for place in range(len(members))]
    nodes = [
        *(
            helper.make_node("Mul", [f"m{place}_probabilities", f"share_{place}"], [part])
            for place, part in enumerate(parts)
        ),
        helper.make_node("Sum", parts, ["mean"]),
        helper.make_node("Pow", ["mean", "exponent"], ["raised"]),
        helper.make_node("ReduceSum", ["raised", "labels"], ["sums"]),
        helper.make_node("Div", ["raised", "sums"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        [*(node for member in members for node in member.graph.node), *nodes],
        "average",
        [*inputs.values()],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, None])],
        [
            *(each for member in members for each in member.graph.initializer),
            *(numpy_helper.from_array(asarray(n, float32), name) for name, n in numbers.items()),
            helper.make_tensor("labels", TensorProto.INT64, [1], [1]),
        ],
    )
    domains = {each.domain: each.version for member in members for each in member.opset_import}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    version = max(member.ir_version for member in members)
    return helper.make_model(graph, opset_imports=opsets, ir_version=version)


def _graph(model: Pipeline) -> tuple[Any, dict[str, Any]]:
    """The graph of a pipeline, and what stands before it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    inputs, classifier = model
    quantiles, terms = None, dict[str, Terms]()
    parts: list[tuple[str, Any, slice]] = []
    types = []
    start = 0
    for each in inputs.parts:
        # Not "passthrough", which skl2onnx gives no weight.
        name, part, width = each.name, each.fitted or FunctionTransformer(), len(each.columns)
        if name in TERMS:
            terms[name], part = _split_terms(part)
            width = len(terms[name].words)
        elif name == "features":
            quantiles, part = _split_quantiles(part, each.columns)
        parts.append((name, part, slice(start, start + width)))
        types.append((name, FloatTensorType([None, width])))
        start += width
    weights = {each.name: each.weight for each in inputs.parts}
    prepared = ColumnTransformer(parts, transformer_weights=weights)
    prepared.transformers_ = parts
    graph = to_onnx(
        Pipeline([("inputs", prepared), ("model", classifier)]),
        initial_types=types,
        options={id(classifier): {"zipmap": False}},
        target_opset=_OPSET,
    )
    preparation = {
        "labels": [str(label) for label in classifier.classes_],
        "terms": asdict(terms["text"]) if "text" in terms else None,
        "titles": asdict(terms["title"]) if "title" in terms else None,
        "quantiles": quantiles and asdict(quantiles),
    }
    return graph, preparation


def _split_terms(vectorizer: Any) -> tuple[Terms, Any]:
    """What numpy does of a vectorizer, and what the graph does: weighting and normalising.

    The graph's form of `sublinear_tf` is ln(1 + count), which is not 1 + ln(count).
    """
    words = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    weighting = copy(vectorizer._tfidf)
    weighting.sublinear_tf = False
    if vectorizer.analyzer == "word":
        return Terms(words, vectorizer.token_pattern, *vectorizer.ngram_range), weighting
    return Terms(words), weighting


def _split_quantiles(part: Pipeline, features: list[str]) -> tuple[Quantiles, Any]:
    """What numpy does of the features, in float64, and what the graph does: scaling.

    A value that many rows share lies at a jump: rounded to float32 it would fall beside it.
    """
    imputer, quantiles, scaler = part
    values = quantiles.quantiles_.T.tolist()
    references = quantiles.references_.tolist()
    return Quantiles(features, imputer.statistics_.tolist(), values, references), scaler


def _compare(exported: OnnxModel, model: Pipeline | Average, task: Task) -> str:
    """Why the export is not to be used; empty where it answers as the original does."""
    import numpy as np
    import pandas as pd

    rows = task.examples.inputs.head(_ROWS)
    awkward = rows.head(len(_AWKWARD)).assign(**{TEXT: _AWKWARD[: len(rows)]})
    inputs: DataFrame = pd.concat([rows, awkward], ignore_index=True)
    expected = model.predict_proba(inputs)
    given = exported.predict_proba(
        inputs[TEXT].tolist(),
        {name: inputs[name].to_numpy("float64") for name in task.features},
        inputs[task.vector].to_numpy("float32"),
    )
    others = int((given.argmax(axis=1) != expected.argmax(axis=1)).sum())
    furthest = float(np.abs(given - expected).max())
    if others or not furthest <= TOLERANCE:
        return f"of {len(inputs)} labels {others} differ, probabilities by up to {furthest:.1e}"
    return ""
