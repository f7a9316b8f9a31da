"""Automation ticks between every two steps of an update: no condition sees half of it."""

import random

import dagster as dg
import pytest

from ml_assets_tests.defs.ticking import World


@pytest.fixture
def world(instance: dg.DagsterInstance) -> World:
    opened = World(random.Random(0), instance)
    opened.tick()
    opened.build()
    return opened


def test_the_search_is_evaluated_once_for_an_update_and_not_for_half_of_it(world: World) -> None:
    before = world.evaluated
    world.edit(0, 1)
    world.away.add("chroma")  # until the first run that needs it has failed
    world.work()
    assert world.failed == 1
    assert world.halves == []
    assert world.made["published_search"] == world.source
    assert world.evaluated == before + 1
    assert world.ticks > 20
