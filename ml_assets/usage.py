"""What this process takes of its machine while a step runs: processors, memory, GPU."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Event, Lock, Thread
from typing import Any

import psutil

MOST = 256
"""Samples that are kept; of a longer step every other one goes, and the rest come half as often."""

_TICK = 0.2
"""Seconds between two looks at the memory, whose peak is wanted."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """Since the sample before: processors in percent of one, and the most memory in MiB.

    `second`: since the step began. Of the GPU: percent of its time, and MiB that this process
    holds; None where it uses none, or the driver does not tell.
    """

    second: float
    cpu_percent: float
    memory_mib: float
    gpu_percent: float | None = None
    gpu_memory_mib: float | None = None


class Usage:
    """The samples of a step so far; holds what the next one is a difference to."""

    def __init__(self, seconds: float = 1.0) -> None:
        """Begin, with a sample about each so many `seconds`, if it is watched."""
        self.samples: list[Sample] = []
        self.peak_memory_mib = 0.0
        self._seconds, self._lock = seconds, Lock()
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first says nothing: it is what the next counts from
        self._began, self._highest = time.monotonic(), 0.0
        self._look()

    def sample(self) -> None:
        """Keep what was seen since the last sample."""
        with self._lock:
            self._look()
            if len(self.samples) >= MOST:
                del self.samples[::2]
                self._seconds *= 2
            second, cpu = time.monotonic() - self._began, self._process.cpu_percent()
            self.samples.append(Sample(second, cpu, self._highest, *gpu_usage()))
            self._highest = 0.0

    def points(self) -> list[tuple[int, str, float]]:
        """Second, metric and value of what is known; of one second the last sample counts."""
        names = ("cpu_percent", "memory_mib", "gpu_percent", "gpu_memory_mib")
        points = {
            (round(sample.second), name): value
            for sample in self.samples
            for name in names
            if (value := getattr(sample, name)) is not None
        }
        return [(second, name, value) for (second, name), value in points.items()]

    def watch(self, over: Event) -> None:
        """Sample until it is over."""
        sampled = time.monotonic()
        while not over.wait(min(_TICK, self._seconds)):
            self._look()
            if time.monotonic() - sampled >= self._seconds:
                sampled = time.monotonic()
                self.sample()

    def _look(self) -> None:
        memory = self._process.memory_info().rss / _MIB
        self._highest = max(self._highest, memory)
        self.peak_memory_mib = max(self.peak_memory_mib, memory)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step runs."""

    host: str
    process: int
    device: str


def place() -> Place:
    """This host, this process, and its GPU, if it uses one: `cuda:0 NVIDIA H200`, else `cpu`."""
    torch = _torch_on_gpu()
    number = torch.cuda.current_device() if torch else 0
    device = f"cuda:{number} {torch.cuda.get_device_name(number)}" if torch else "cpu"
    return Place(socket.gethostname(), os.getpid(), device)


@contextmanager
def usage_sampled(seconds: float = 1.0) -> Iterator[Usage]:
    """Look at this process about each so many `seconds`, until the end of the block."""
    usage, over = Usage(seconds), Event()
    thread = Thread(target=usage.watch, args=(over,), name="usage", daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        over.set()
        thread.join()
        usage.sample()


def _torch_on_gpu() -> Any:
    """The module torch, if this process has put something on a GPU by it; it is not imported."""
    torch = sys.modules.get("torch")
    spec = getattr(torch, "__spec__", None)
    if torch is None or getattr(spec, "_initializing", False):  # by another thread, just now
        return None
    return torch if torch.cuda.is_initialized() else None


def gpu_usage() -> tuple[float | None, float | None]:
    """Percent of its time and MiB of this process's GPU; None where it uses none."""
    torch = _torch_on_gpu()
    if torch is None:
        return None, None
    number = torch.cuda.current_device()
    return _gpu_percent(number), torch.cuda.memory_reserved(number) / _MIB


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def _gpu_percent(number: int) -> float | None:
    """How much of the last moment a GPU computed, as NVIDIA's driver tells."""
    nvml, rates = _nvml(), _Utilization()
    handle = ctypes.c_void_p()
    if nvml is None or nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)):
        return None
    refused = nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(rates))
    return None if refused else float(rates.gpu)


@cache
def _nvml() -> ctypes.CDLL | None:
    """The library of NVIDIA's driver, where there is one."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return None if nvml.nvmlInit_v2() else nvml
