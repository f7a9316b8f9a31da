"""Streams, cut into batches, and worked on while the next batch is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def batches(items: Iterable[T], weight: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Cut a stream into batches of weight `most` or less; a heavier item is alone."""
    batch: list[T] = []
    total = 0
    for item in items:
        if batch and total + weight(item) > most:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += weight(item)
    if batch:
        yield batch


def work_ahead(work: Callable[[T], R], items: Iterable[T]) -> Generator[tuple[T, R]]:
    """Yield each item with the result of `work`, which a thread does while the next is read.

    Two results at most wait to be taken; close the generator when one is not.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        started: deque[tuple[T, Future[R]]] = deque()
        try:
            for item in items:
                started.append((item, pool.submit(work, item)))
                if len(started) > 1:
                    done, result = started.popleft()
                    yield done, result.result()
            for done, result in started:
                yield done, result.result()
        finally:
            pool.shutdown(cancel_futures=True)


def as_done(
    submit: Callable[[T], Future[R]], items: Iterable[T], ahead: int, *, ordered: bool = False
) -> Generator[tuple[T, R]]:
    """Yield each item with the result of what `submit` starts; `ahead` at a time, at most.

    As they are done, or in their order. After a failure nothing more is started, what was started
    is awaited and given out, and then the failure raised.
    """
    started: dict[Future[R], T] = {}
    failed: BaseException | None = None
    waiting = iter(items)
    try:
        while True:
            while failed is None and len(started) < ahead:
                try:
                    item = next(waiting)
                except StopIteration:
                    break
                started[submit(item)] = item
            if not started:
                break
            first = [next(iter(started))] if ordered and failed is None else list(started)
            for future in wait(first, return_when=FIRST_COMPLETED).done:
                done = started.pop(future)
                if (error := future.exception()) is None:
                    yield done, future.result()
                else:
                    failed = failed or error
        if failed:
            raise failed
    finally:
        for future in started:
            future.cancel()
