"""The progress of a run, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from rich import progress as rich
from rich.console import Console

if TYPE_CHECKING:
    from ml_assets.progress import Progress, StageProgress


@contextmanager
def stage_bars(console: Console) -> Iterator[StageProgress]:
    """One bar per stage with rate and time left, and one line when the stage ends."""
    bars = rich.Progress(
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description:<16}"),
        rich.BarColumn(bar_width=24),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
        console=console,
        transient=True,
    )

    @contextmanager
    def stage(name: str) -> Iterator[Progress]:
        started, count = perf_counter(), 0
        task = bars.add_task(name, total=None, rate="")

        def report(done: int, total: int) -> None:
            nonlocal count
            count = done
            rate = f"{done / max(perf_counter() - started, 1e-3):,.0f}/s"
            bars.update(task, completed=done, total=total or None, rate=rate)

        try:
            yield report
        finally:
            bars.remove_task(task)
            seconds = perf_counter() - started
            rate = count / max(seconds, 1e-3)
            counted, pace = f"{count:,}" if count else "", f"{rate:,.0f}/s" if rate >= 10 else ""
            line = f"  {name:<20}{counted:>9}  {pace:>10}  {seconds:>7.1f} s"
            console.print(line, highlight=False)

    if console.is_terminal:
        bars.start()
    try:
        yield stage
    finally:
        bars.stop()
