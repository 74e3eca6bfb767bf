"""The planner's answers, kept: (role, departure slot, POI code) to slot and POI probabilities.

The cost of the language model grows with the number of distinct states, not of persons. A table
is addressed by its content: the SHA-256 of all that an answer depends on (adapter, language model,
prompt texts, codebook, number format). An answer's states are asked a place at a time, all 48
departure slots in one forward pass, so that a live answer is computed just as a kept one was.
"""

import fcntl
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from raygen.errors import WeightsError
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES, ROLES

Half = npt.NDArray[np.float16]
IntArray = npt.NDArray[np.int64]

_CATEGORIES = len(POI_CATEGORIES)


@dataclass(frozen=True)
class PlanTable:
    """Answers by role, place (POI code) and departure slot; R = 6 roles, K codes."""

    address: str
    """SHA-256 of what the answers depend on."""

    slots: Half
    """Probability of the next arrival's clock slot, shape (R, K, 48, 48)."""

    categories: Half
    """POI distribution of the destination, shape (R, K, 48, 14)."""

    filled: npt.NDArray[np.bool_]
    """Whether a place has its answers, shape (R, K)."""

    def answers(
        self, role: IntArray, slot: IntArray, code: IntArray
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return slot (N, 48) and POI (N, 14) probabilities of filled states, rows sum to 1."""
        arrivals = self.slots[role, code, slot].astype(np.float32)
        places = self.categories[role, code, slot].astype(np.float32)
        arrivals /= arrivals.sum(axis=1, keepdims=True)
        places /= places.sum(axis=1, keepdims=True)
        return arrivals, places

    def put(self, role: int, code: int, slots: Half, categories: Half) -> None:
        """Write the answers of a place: slots (48, 48) and categories (48, 14)."""
        self.slots[role, code] = slots
        self.categories[role, code] = categories
        self.filled[role, code] = True

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
        for role, code in zip(*np.nonzero(other.filled), strict=True):
            theirs = (other.slots[role, code], other.categories[role, code])
            ours = (self.slots[role, code], self.categories[role, code])
            if not self.filled[role, code] or _bytes(theirs) < _bytes(ours):
                self.put(int(role), int(code), *theirs)


def address(parts: dict[str, str]) -> str:
    """Return the SHA-256 of named digests and settings."""
    text = "\n".join(f"{name}={parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()


def file_name(at: str) -> str:
    """Return the file name of the table of an address."""
    return f"plans-{at[:24]}.safetensors"


def empty(at: str, codes: int) -> PlanTable:
    """Return a table without answers, for K codes."""
    shape = (len(ROLES), codes, PLAN_SLOTS)
    return PlanTable(
        address=at,
        slots=np.zeros((*shape, PLAN_SLOTS), dtype=np.float16),
        categories=np.zeros((*shape, _CATEGORIES), dtype=np.float16),
        filled=np.zeros(shape[:2], dtype=np.bool_),
    )


def read(path: Path, at: str, codes: int) -> PlanTable:
    """Read a table.

    Raises
    ------
    WeightsError
        If the file is unreadable, or its table has another address or number of codes.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path}: plan table cannot be read: {error}; delete it to have it asked again"
        raise WeightsError(msg) from None
    table = empty(at, codes)
    want = {"slots": table.slots, "categories": table.categories, "filled": table.filled}
    shapes = {name: tensor.shape for name, tensor in tensors.items() if name != "address"}
    if shapes != {name: array.shape for name, array in want.items()}:
        msg = f"{path}: plan table must be of {codes} codes, got shapes {shapes}"
        raise WeightsError(msg)
    found = bytes(tensors["address"].tobytes()).decode()
    if found != at:
        msg = f"{path}: plan table of address {found[:12]}…, needed {at[:12]}…"
        raise WeightsError(msg)
    for name, array in want.items():
        array[:] = tensors[name]
    return table


def write(table: PlanTable, path: Path) -> None:
    """Write a table as a whole: to a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    tensors = {
        "address": np.frombuffer(table.address.encode(), dtype=np.uint8).copy(),
        "slots": table.slots,
        "categories": table.categories,
        "filled": table.filled,
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


def _bytes(arrays: tuple[Half, Half]) -> bytes:
    return b"".join(array.tobytes() for array in arrays)
