"""The progress of a run, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from ml_assets.progress import Progress as Report


class StageBars:
    """One bar per stage with rate and time left, and one line when the stage ends."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> StageBars:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """Show a stage until it ends; the yielded callable takes (done, total)."""
        started = perf_counter()
        task = self._bars.add_task(name, total=None, rate="")
        count = 0

        def report(done: int, total: int) -> None:
            nonlocal count
            count = done
            rate = f"{done / max(perf_counter() - started, 1e-3):,.0f}/s"
            self._bars.update(task, completed=done, total=total or None, rate=rate)

        try:
            yield report
        finally:
            self._bars.remove_task(task)
            seconds = perf_counter() - started
            rate = count / max(seconds, 1e-3)
            counted = f"{count:>9,}" if count else ""
            pace = f"{rate:,.0f}/s" if rate >= 10 else ""
            line = f"  {name:<20}{counted:>9}  {pace:>10}  {seconds:>7.1f} s"
            self._console.print(line, highlight=False)
