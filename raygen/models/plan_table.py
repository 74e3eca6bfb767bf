"""The planner's answers, kept: (traveller, departure slot, place) to slot and POI probabilities.

The cost of the language model grows with the number of distinct states, not of persons. A table
is addressed by its content: the SHA-256 of all that an answer depends on (adapter, language model,
prompt texts, codebook, number format). A place is a code of the codebook, or the hash of its text
where POI distributions are not quantised. States are asked a place at a time, all 48
departure slots in one forward pass, so that a live answer is computed just as a kept one was.
"""

import fcntl
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from raygen.errors import WeightsError
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

Half = npt.NDArray[np.float16]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Answer = tuple[int, int, Half, Half]
"""Traveller, place, and what comes next there: slots (48, 48) and categories (48, 14)."""

PLACES = 2**48
"""Places are 0 … PLACES - 1: codes, or the first 48 bits of a text's SHA-256."""

_CATEGORIES = len(POI_CATEGORIES)
_SHAPES = ((PLAN_SLOTS, PLAN_SLOTS), (PLAN_SLOTS, _CATEGORIES))


def _no_keys() -> IntArray:
    return np.empty(0, np.int64)


def _no_answers(shape: tuple[int, int]) -> Half:
    return np.empty((0, *shape), np.float16)


@dataclass
class PlanTable:
    """Answers of F places (each as one traveller), in order of ``key``."""

    address: str
    """SHA-256 of what the answers depend on."""

    key: IntArray = field(default_factory=_no_keys)
    """traveller · PLACES + place, rising, shape (F,)."""

    slots: Half = field(default_factory=lambda: _no_answers(_SHAPES[0]))
    """Probability of the next arrival's clock slot, shape (F, 48, 48)."""

    categories: Half = field(default_factory=lambda: _no_answers(_SHAPES[1]))
    """POI distribution of the destination, shape (F, 48, 14)."""

    def holds(self, traveller: IntArray, place: IntArray) -> BoolArray:
        """Return whether the answers of places are here, shape (N,)."""
        return self._found(traveller * PLACES + place)[1]

    def answers(
        self, traveller: IntArray, slot: IntArray, place: IntArray
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return slot (N, 48) and POI (N, 14) probabilities of states, rows sum to 1.

        Raises
        ------
        WeightsError
            If the table does not hold a state.
        """
        row, held = self._found(traveller * PLACES + place)
        if not held.all():
            msg = f"plan table {self.address[:12]}…: {int((~held).sum())} states are not in it"
            raise WeightsError(msg)
        arrivals = self.slots[row, slot].astype(np.float32)
        places = self.categories[row, slot].astype(np.float32)
        arrivals /= arrivals.sum(axis=1, keepdims=True)
        places /= places.sum(axis=1, keepdims=True)
        return arrivals, places

    def put(self, answers: list[Answer]) -> None:
        """Add the answers of places that are not here yet; of equal ones the first."""
        if not answers:
            return
        key = np.array([traveller * PLACES + place for traveller, place, _, _ in answers], np.int64)
        self._take(
            key,
            np.stack([slots for _, _, slots, _ in answers]),
            np.stack([categories for _, _, _, categories in answers]),
        )

    def merge(self, other: "PlanTable") -> None:
        """Take over the other table's answers, in place.

        The result does not depend on the order of merging: of two answers that differ (made on
        processors that round differently) the one with the smaller bytes stays.

        Raises
        ------
        WeightsError
            If the tables have different addresses.
        """
        if other.address != self.address:
            msg = f"plan table: addresses differ: {self.address[:12]}… and {other.address[:12]}…"
            raise WeightsError(msg)
        row, held = self._found(other.key)
        for theirs in np.flatnonzero(held).tolist():
            ours = int(row[theirs])
            if other._bytes(theirs) < self._bytes(ours):
                self.slots[ours] = other.slots[theirs]
                self.categories[ours] = other.categories[theirs]
        self._take(other.key[~held], other.slots[~held], other.categories[~held])

    def _take(self, key: IntArray, slots: Half, categories: Half) -> None:
        every = np.concatenate([self.key, key])
        self.key, first = np.unique(every, return_index=True)
        self.slots = np.concatenate([self.slots, slots])[first]
        self.categories = np.concatenate([self.categories, categories])[first]

    def _found(self, key: IntArray) -> tuple[IntArray, BoolArray]:
        """Return the row of each key, and whether it is that key's."""
        if not len(self.key):
            return np.zeros(len(key), np.int64), np.zeros(len(key), np.bool_)
        row = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return row, self.key[row] == key

    def _bytes(self, row: int) -> bytes:
        return self.slots[row].tobytes() + self.categories[row].tobytes()


def address(parts: dict[str, str]) -> str:
    """Return the SHA-256 of named digests and settings."""
    text = "\n".join(f"{name}={parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()


def file_name(at: str) -> str:
    """Return the file name of the table of an address."""
    return f"plans-{at[:24]}.safetensors"


def read(path: Path, at: str) -> PlanTable:
    """Read a table.

    Raises
    ------
    WeightsError
        If the file is unreadable, or its table has another address or arrays of wrong shape.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path}: plan table cannot be read: {error}; delete it to have it asked again"
        raise WeightsError(msg) from None
    shapes = {name: tensor.shape for name, tensor in tensors.items() if name != "address"}
    count = shapes.get("key", (0,))
    want = {"key": count} | {
        name: (*count, *shape) for name, shape in zip(("slots", "categories"), _SHAPES, strict=True)
    }
    if shapes != want:
        msg = f"{path}: plan table must hold {sorted(want)}, a row for each key, got {shapes}"
        raise WeightsError(msg)
    found = bytes(tensors["address"].tobytes()).decode()
    if found != at:
        msg = f"{path}: plan table of address {found[:12]}…, needed {at[:12]}…"
        raise WeightsError(msg)
    return PlanTable(at, tensors["key"], tensors["slots"], tensors["categories"])


def write(table: PlanTable, path: Path) -> None:
    """Write a table as a whole: to a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    tensors = {
        "address": np.frombuffer(table.address.encode(), dtype=np.uint8).copy(),
        "key": table.key,
        "slots": table.slots,
        "categories": table.categories,
    }
    save_file(tensors, scratch)
    os.replace(scratch, path)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock of a table's file; others on this machine wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
