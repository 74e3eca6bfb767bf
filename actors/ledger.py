"""The ledger: every shard done exactly once, however often an actor or a node is lost.

Shards start in order, a few under way for each crew. A shard whose crew lost an actor, a node or
its time goes back to the head of the queue. From its second attempt on a shard has a crew for
itself, so that the shard named in the end is the one to blame.
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import ray
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError

from raygen.errors import RaygenError, StageError
from raygen.manifest import Receipt

log = logging.getLogger(__name__)

_ACTOR = re.compile(r"ray::(\w+)\.|class_name: (\w+)")
_TICK_S = 1.0  # how long to wait for a shard before looking at the clock


class Worker(Protocol):
    """What the ledger needs of a crew."""

    def submit(self, shard: int) -> "ObjectRef[Receipt]":
        """Start a shard."""
        ...

    def replace(self) -> None:
        """Start again from nothing."""
        ...


@dataclass(frozen=True)
class Limits:
    """How far the ledger goes."""

    in_flight: int
    """Shards under way for each crew."""
    attempts: int
    """Attempts at a shard."""
    shard_s: float
    """Seconds that a shard may be under way."""


@dataclass(frozen=True)
class _Attempt:
    shard: int
    number: int
    crew: int
    since: float


class Ledger:
    """Shards to do and under way.

    Parameters
    ----------
    crews
        One or more.
    limits
        How far to go.
    """

    def __init__(self, crews: Sequence[Worker], limits: Limits) -> None:
        self._crews = crews
        self._limits = limits
        self._queue: deque[tuple[int, int]] = deque()
        self._under_way: dict[ObjectRef[Receipt], _Attempt] = {}

    def run(self, shards: Iterable[int], done: Callable[[Receipt], None]) -> None:
        """Do every shard.

        Parameters
        ----------
        shards
            In the order to start them.
        done
            Called with each receipt as it comes, in the order of completion.

        Raises
        ------
        StageError
            If a shard fails in its last attempt; names the stage, the shard and the last error.
        RaygenError
            As raised inside a stage, at once: a second attempt would find the same.
        """
        self._queue.extend((shard, 1) for shard in shards)
        while self._queue or self._under_way:
            self._fill()
            ready, _ = ray.wait(list(self._under_way), num_returns=1, timeout=_TICK_S)
            for ref in ready:
                self._settle(ref, done)
            self._check_clock()

    def _fill(self) -> None:
        """Start shards from the head of the queue while a crew may take one."""
        while self._queue:
            shard, number = self._queue[0]
            crew = self._free_crew(alone=number > 1)
            if crew is None:
                return
            self._queue.popleft()
            ref = self._crews[crew].submit(shard)
            self._under_way[ref] = _Attempt(shard, number, crew, time.monotonic())

    def _free_crew(self, alone: bool) -> int | None:
        """Return the least busy crew that may take a shard, None where all are full."""
        load = [0] * len(self._crews)
        for attempt in self._under_way.values():
            # A repeated shard counts as a full crew.
            load[attempt.crew] += self._limits.in_flight if attempt.number > 1 else 1
        crew = min(range(len(load)), key=load.__getitem__)
        return crew if load[crew] < (1 if alone else self._limits.in_flight) else None

    def _settle(self, ref: "ObjectRef[Receipt]", done: Callable[[Receipt], None]) -> None:
        """Take the result of an attempt, good or bad."""
        attempt = self._under_way.get(ref)
        if attempt is None:  # its crew was replaced in this round
            return
        try:
            receipt = ray.get(ref)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RaygenError):
                raise cause from None
            if isinstance(cause, RayError):
                self._lose_crew(attempt.crew, cause)
            else:
                del self._under_way[ref]
                self._repeat(attempt, f"{_stage(error)}: {type(cause).__name__}: {cause}")
        except RayError as error:
            self._lose_crew(attempt.crew, error)
        else:
            del self._under_way[ref]
            done(receipt)

    def _check_clock(self) -> None:
        """Replace a crew whose shard is under way for too long."""
        now = time.monotonic()
        late = [a for a in self._under_way.values() if now - a.since > self._limits.shard_s]
        for attempt in late:
            if attempt in self._under_way.values():
                self._lose_crew(
                    attempt.crew,
                    TimeoutError(f"no result after {self._limits.shard_s:g} s"),
                )

    def _lose_crew(self, crew: int, error: Exception) -> None:
        """Replace a crew and send all its shards back; any of them may be to blame."""
        lost = {ref: a for ref, a in self._under_way.items() if a.crew == crew}
        for ref in lost:
            del self._under_way[ref]
        self._crews[crew].replace()
        for attempt in sorted(lost.values(), key=lambda a: a.shard, reverse=True):
            self._repeat(attempt, f"{_stage(error)}: {_line(error)}")

    def _repeat(self, attempt: _Attempt, reason: str) -> None:
        """Put a shard back at the head of the queue, or give up."""
        if attempt.number >= self._limits.attempts:
            msg = f"shard {attempt.shard}: {attempt.number} attempts failed; last: {reason}"
            raise StageError(msg)
        log.warning("shard %d: attempt %d failed: %s", attempt.shard, attempt.number, reason)
        self._queue.appendleft((attempt.shard, attempt.number + 1))


def _stage(error: Exception) -> str:
    """Return the actor that an error of Ray comes from: the innermost that its text names."""
    found = _ACTOR.findall(str(error))
    return "".join(found[-1]) if found else "crew"


def _line(error: Exception) -> str:
    """Return an error of Ray in one line: its class, and its last sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"
