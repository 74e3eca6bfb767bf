"""The progress bar of a run: shards done, persons a second, time left."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from raygen.pipeline import Progress

_STEPS = {
    "city": "opening the city (an embedded one is built the first time, in about a minute)",
    "models": "checking the models",
    "population": "fitting the population",
    "anchors": "fitting work and school places",
    "cluster": "connecting to Ray",
    "shards": "starting the actors",
}


class Bar:
    """A bar on a terminal, nothing elsewhere; a context manager."""

    def __init__(self, console: Console) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("preparing", total=None, rate="")
        self._since: float | None = None

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def begin(self, step: str) -> None:
        """Say which step of the preparation goes on."""
        self._bar.update(self._task, description=_STEPS.get(step, step), refresh=True)

    def show(self, progress: Progress) -> None:
        """Draw how far the run is."""
        now = time.monotonic()
        self._since = self._since or now
        self._bar.update(
            self._task,
            description="generating",
            total=progress.shards,
            completed=progress.shards_done,
            rate=f"shards {rate(progress, now - self._since)}",
        )

    def count(self, step: str, done: int, total: int) -> None:
        """Draw how far a step of parts is."""
        self._bar.update(self._task, description=step, total=total, completed=done, rate="parts")


def rate(progress: Progress, seconds: float) -> str:
    """Return persons a second and the time left, empty before the first shard of this run."""
    fresh = progress.persons_done - progress.persons_kept
    if fresh <= 0 or seconds <= 0:
        return ""
    speed = fresh / seconds
    left = round((progress.persons - progress.persons_done) / speed)
    return f"{speed:,.0f} persons/s, {left // 60}:{left % 60:02d} left"
