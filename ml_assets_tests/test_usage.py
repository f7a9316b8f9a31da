"""What a step used: sampled while it runs, and bounded however long it takes."""

import os
import socket
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ml_assets import usage
from ml_assets.usage import Sample, Usage, place, usage_sampled

MIB = 2**20


def test_a_step_however_short_has_a_sample() -> None:
    with usage_sampled() as used:
        pass
    (sample,) = used.samples
    assert sample.second < 1
    assert used.peak_memory_mib >= sample.memory_mib > 10
    assert (sample.gpu_percent, sample.gpu_memory_mib) == (None, None)


def test_the_most_memory_and_the_processor_are_seen() -> None:
    with usage_sampled(0.05) as used:
        before = used.peak_memory_mib
        held = np.ones(200 * MIB // 8)
        until = time.process_time() + 0.3
        while time.process_time() < until:
            held += 1
    assert used.peak_memory_mib - before > 150
    assert max(sample.cpu_percent for sample in used.samples) > 20
    assert [each.second for each in used.samples] == sorted(each.second for each in used.samples)


def test_what_the_block_raises_is_raised_and_the_last_sample_is_there() -> None:
    with pytest.raises(ValueError, match="of the block"), usage_sampled() as used:
        raise ValueError("of the block")
    assert len(used.samples) == 1


def test_a_long_step_keeps_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST", 8)
    used = Usage()
    for _ in range(100):
        used.sample()
    assert len(used.samples) <= 8
    assert used._seconds > 1
    assert used.samples[-1].second >= used.samples[0].second


def test_points_name_what_is_known_once_a_second() -> None:
    used = Usage()
    used.samples = [Sample(0.6, 90.0, 5.0), Sample(1.2, 50.0, 6.0, 30.0, 7.0)]
    assert used.points() == [
        (1, "cpu_percent", 50.0),
        (1, "memory_mib", 6.0),
        (1, "gpu_percent", 30.0),
        (1, "gpu_memory_mib", 7.0),
    ]


def test_the_place_is_this_process_and_the_gpu_that_it_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = SimpleNamespace(
        cuda=SimpleNamespace(
            is_initialized=lambda: True,
            current_device=lambda: 1,
            get_device_name=lambda number: f"GPU {number}",
            memory_reserved=lambda number: 3 * MIB,
        )
    )
    assert place() == usage.Place(socket.gethostname(), os.getpid(), "cpu")
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert place().device == "cuda:1 GPU 1"
    with usage_sampled() as used:
        pass
    assert used.samples[0].gpu_memory_mib == 3


def test_a_module_that_another_thread_is_importing_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = ModuleType("torch")
    half.__spec__ = ModuleSpec("torch", None)
    half.__spec__._initializing = True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", half)
    assert place().device == "cpu"


class Driver:
    """NVIDIA's library, with a GPU at 37 percent; `refuses` what is called so."""

    def __init__(self, refuses: str = "") -> None:
        self._refuses = refuses

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, handle: object) -> int:  # noqa: N802
        return int(self._refuses == "handle" or number != 1)

    def nvmlDeviceGetUtilizationRates(self, handle: object, rates: Any) -> int:  # noqa: N802
        rates._obj.gpu, rates._obj.memory = 37, 99
        return int(self._refuses == "rates")


@pytest.mark.parametrize(
    ("driver", "percent"),
    [(Driver(), 37.0), (Driver("handle"), None), (Driver("rates"), None), (None, None)],
)
def test_the_driver_tells_how_busy_a_gpu_is(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, percent: float | None
) -> None:
    monkeypatch.setattr(usage, "_nvml", lambda: driver)
    assert usage._gpu_percent(1) == percent


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(usage.ctypes, "CDLL", load)
    assert usage._nvml.__wrapped__() is None
