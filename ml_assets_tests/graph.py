"""The asset graph, as tests look at it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import dagster as dg

from ml_assets.defs.resources import EncoderResource
from ml_assets.documents.chunking import Chunker
from ml_assets.embeddings.space import current_chunker
from ml_assets.settings import Settings
from ml_assets_tests.fakes import CHUNKER, HashEncoder

Run = Callable[..., dg.ExecuteInProcessResult]
"""Materializes with the given checks; what it returns tells how that went."""


def evaluate(
    asked: dg.SensorDefinition | dg.ScheduleDefinition, context: object, **resources: object
) -> Any:
    """What a sensor or a schedule says. Called itself, it takes no resource that is closed."""
    if isinstance(asked, dg.SensorDefinition):
        return asked._raw_fn(context, **resources)
    return asked._execution_fn.decorated_fn(context, **resources)  # type: ignore[union-attr]


def fake_encoder(settings: Settings, encoder: HashEncoder) -> EncoderResource:
    """The resource `encoder`, with a hash-based encoder in the place of the model's.

    The reference of checks is another one, so that their texts are not counted.
    """
    return EncoderResource(
        lambda: encoder.space,
        partial(current_chunker, settings),
        lambda *_: encoder,
        lambda: HashEncoder(encoder.space),
    )


@dataclass(frozen=True)
class _ByHand:
    """In the place of a chunker, for chunks that a test writes itself."""

    fingerprint: str = CHUNKER

    @property
    def definition(self) -> dict[str, str]:
        return {"chunker": self.fingerprint}


def by_hand(settings: Settings, encoder: HashEncoder) -> EncoderResource:
    """The fake encoder, for chunks that a test writes itself."""
    return replace(fake_encoder(settings, encoder), chunker=lambda: cast("Chunker", _ByHand()))


def shown(value: object) -> str:
    """A table of metadata, one line for each row: `| 1 | two |`."""
    assert isinstance(value, dg.TableMetadataValue)
    rows = [record.data.values() for record in value.records]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
