"""A cached vector is the one that the encoder would give, to the last bit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ml_assets.embeddings.caching import KIND, CachingEncoder
from ml_assets.stores import cache
from ml_assets.stores.cache import CacheStatistics, ReadThrough, key_of
from ml_assets_tests.fakes import SPACE, HashEncoder, other_space


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[ReadThrough]:
    with ReadThrough(lambda: cache.connect(None, tmp_path)) as opened:
        yield opened


def counting(shared: ReadThrough, runtime: str = "", seconds: float = 60) -> CachingEncoder:
    """Counts in `loads` how often it was loaded."""

    def load() -> HashEncoder:
        loads.append(1)
        return HashEncoder()

    loads: list[int] = []
    encoder = CachingEncoder(SPACE, load, shared, seconds, runtime)
    encoder.loads = loads  # type: ignore[attr-defined]
    return encoder


def test_what_is_cached_is_what_would_be_computed(shared: ReadThrough) -> None:
    first, second = counting(shared), counting(shared)
    assert not first.knows("bread")
    computed = first.encode_queries(["bread", "rocket"])
    assert computed.tobytes() == HashEncoder().encode_queries(["bread", "rocket"]).tobytes()
    assert second.knows("rocket")
    cached = second.encode_queries(["rocket"])
    assert cached.dtype == np.float32
    assert cached.tobytes() == computed[1:].tobytes()
    assert not second.loads  # type: ignore[attr-defined]
    assert shared.statistics() == {KIND: CacheStatistics(1, 2)}
    assert second.space == SPACE
    assert second.encode(["bread"]).tobytes() == HashEncoder().encode(["bread"]).tobytes()


def test_what_need_not_be_kept_at_once_is_kept_when_it_is_said(shared: ReadThrough) -> None:
    inner = HashEncoder()
    encoder = CachingEncoder(SPACE, lambda: inner, shared, 60, at_once=False)
    encoder.encode_queries(["bread"])
    encoder.encode_queries(["rocket", "bread"])
    assert inner.texts == ["bread", "rocket"], "what waits to be kept is known"
    assert not counting(shared).knows("bread")
    encoder.keep()
    assert counting(shared).knows("bread")
    assert counting(shared).knows("rocket")


def test_queries_that_are_not_kept_are_encoded_together_and_once(shared: ReadThrough) -> None:
    inner = HashEncoder()
    encoder = CachingEncoder(SPACE, lambda: inner, shared, 60)
    first = encoder.encode_queries(["a", "b", "a"])
    assert first[0].tobytes() == first[2].tobytes()
    assert np.array_equal(encoder.encode_queries(["b", "c", "a"])[[2, 0]], first[:2])
    assert inner.texts == ["a", "b", "c"]
    encoder.encode(["a"])
    encoder.encode(["a"])
    assert inner.texts == ["a", "b", "c", "a", "a"], "documents are not kept"
    other = CachingEncoder(other_space(), lambda: HashEncoder(other_space()), shared, 60)
    assert not np.array_equal(other.encode_queries(["a"]), first[:1])
    assert encoder.encode_queries([]).shape == (0, SPACE.dimension)


def test_another_query_or_runtime_is_another_vector(shared: ReadThrough) -> None:
    counting(shared).encode_queries(["bread"])
    assert counting(shared).knows("bread")
    assert not counting(shared).knows("bread ")
    assert not counting(shared, runtime="other").knows("bread")
    never = counting(shared, seconds=0)
    assert not never.knows("bread")
    never.encode_queries(["water"])
    assert not counting(shared).knows("water")


def test_a_value_of_another_length_is_no_vector(shared: ReadThrough, tmp_path: Path) -> None:
    with cache.connect(None, tmp_path) as hand:
        hand.put_many({key_of(KIND, SPACE.space_id, "", "bread"): b"1234"}, 60)
    encoder = counting(shared)
    assert not encoder.knows("bread")
    assert encoder.encode_queries(["bread"]).shape == (1, SPACE.dimension)


def test_no_text_is_in_the_file(shared: ReadThrough, tmp_path: Path) -> None:
    counting(shared).encode_queries(["a secret query"])
    shared.close()
    content = b"".join(file.read_bytes() for file in tmp_path.glob("cache.sqlite*"))
    assert b"secret" not in content
    assert KIND.encode() in content
