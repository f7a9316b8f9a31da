"""Terms and quantiles are those of scikit-learn, whatever the text and the value."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from ml_assets.training.families.titles import title_terms
from ml_assets.training.onnx.model import Quantiles, Terms

CORPUS = (
    "Return the absolute value of the number.",
    "the Caf\u00e9, \u6f22\u5b57\u6f22\u5b57 stra\u00dfe and STRASSE: x1 12 12 12_000",
    "\u0130stanbul caf\u00e9 cafe\u0301 the the value of the number",
    "a b c 1 2 3",
)
AWKWARD = (
    *("", " \n", "a . ! 1", "w" * 70_000, "x\x00the value\u2028of"),
    "\u0661\u0662 \u00b2\u00b2 x\u00b2",
)


def vectorizer() -> TfidfVectorizer:
    """The vectorizer of the families on few texts, up to where the graph goes on."""
    fitted = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32, use_idf=False, norm=None
    )
    return fitted.fit(CORPUS)


def terms_of(fitted: TfidfVectorizer) -> Terms:
    words = sorted(fitted.vocabulary_, key=fitted.vocabulary_.__getitem__)
    return Terms(words, fitted.token_pattern, *fitted.ngram_range)


@given(st.lists(st.sampled_from([*CORPUS, *AWKWARD]) | st.text(), min_size=1, max_size=8))
def test_terms_are_weighed_as_by_scikit_learn(texts: list[str]) -> None:
    fitted = vectorizer()
    expected = fitted.transform(texts).toarray()
    given_ = terms_of(fitted).weigh(texts)
    assert given_.dtype == np.float32
    assert (given_ == expected).all()


TITLES = ("json.JSONEncoder\nx", "json.decode_all\ny", "Caf\u00e9 getHTTPServer2\n", "x json\n\n")


@given(st.lists(st.sampled_from([*TITLES, *AWKWARD]) | st.text(), min_size=1, max_size=8))
def test_terms_of_titles_are_weighed_as_by_scikit_learn(texts: list[str]) -> None:
    fitted = TfidfVectorizer(
        analyzer=title_terms, sublinear_tf=True, dtype=np.float32, use_idf=False, norm=None
    ).fit(TITLES)
    words = sorted(fitted.vocabulary_, key=fitted.vocabulary_.__getitem__)
    assert (Terms(words).weigh(texts) == fitted.transform(texts).toarray()).all()


def test_words_of_any_script_and_pairs_of_them_are_terms() -> None:
    weights = terms_of(vectorizer()).weigh(CORPUS)
    assert (weights > 0).sum() > 30
    assert weights.max() == pytest.approx(1 + np.log(3))


VALUES = st.one_of(
    st.just(float("nan")),
    st.sampled_from([0.0, 1 / 3, 1.0, 7.0, 1e9, -1e9]),
    st.floats(-10, 10, width=32),
)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12))
def test_quantiles_are_those_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    generator = np.random.default_rng(0)
    seen = np.column_stack(
        [generator.choice([0.0, 1 / 3, 0.5, 1.0], 60), generator.normal(size=60).round(1)]
    )
    seen[::7, 1] = np.nan
    names = ["shares", "lengths"]
    fitted = make_pipeline(
        SimpleImputer(strategy="median"), QuantileTransformer(n_quantiles=40)
    ).fit(pd.DataFrame(seen, columns=names))
    imputer, quantiles = fitted
    ours = Quantiles(
        names,
        imputer.statistics_.tolist(),
        quantiles.quantiles_.T.tolist(),
        quantiles.references_.tolist(),
    )
    asked = pd.DataFrame(rows, columns=names, dtype="float64")
    # By name: the order in which values come plays no part.
    placed = ours.place({name: asked[name].to_numpy() for name in reversed(names)})
    assert placed == pytest.approx(fitted.transform(asked), abs=1e-6)
