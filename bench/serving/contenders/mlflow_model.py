"""A classifier as MLflow serves one: sentence-transformers and scikit-learn in one pyfunc model.

`python -m bench.serving.contenders.mlflow_model STATE MODEL` fits a logistic regression on the
vectors and labels in STATE, and writes the model beside them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import joblib
import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from bench.search.vectors import load

_MOST = 10_000
"""Texts that it is fitted on: how many there are tells nothing of how fast it answers."""


class Classifier(PythonModel):
    """Texts to the probability of every label."""

    def load_context(self, context: Any) -> None:
        """Load the encoder and the regression."""
        self._encoder = SentenceTransformer(context.artifacts["encoder"])
        self._regression = joblib.load(context.artifacts["regression"])

    # MLflow reads the hints: so it tells what it may be asked.
    def predict(  # type: ignore[override]
        self, context: Any, model_input: list[str]
    ) -> list[dict[str, float]]:
        """The probabilities of each text."""
        vectors = self._encoder.encode(list(model_input), normalize_embeddings=True)
        labels = [str(label) for label in self._regression.classes_]
        given = self._regression.predict_proba(vectors)
        return [dict(zip(labels, map(float, row), strict=True)) for row in given]


def main() -> None:
    """Read the arguments, fit, write."""
    state, encoder = map(Path, sys.argv[1:])
    labels = json.loads((state / "labels.json").read_text())
    vectors = np.concatenate([*load(state / "vectors").blocks()])
    known = np.flatnonzero([bool(label) for label in labels])[:_MOST]
    regression = LogisticRegression().fit(vectors[known], [labels[place] for place in known])
    joblib.dump(regression, state / "regression.joblib")
    mlflow.pyfunc.save_model(
        str(state / "model"),
        python_model=__file__,  # read as code where it is loaded: nothing of it is unpickled
        artifacts={"encoder": str(encoder), "regression": str(state / "regression.joblib")},
        pip_requirements=[],
    )


if __name__ == "__main__":
    main()
else:
    mlflow.models.set_model(Classifier())
