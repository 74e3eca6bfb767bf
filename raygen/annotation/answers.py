"""Answers of the language model, kept as they come: equal texts are asked once, ever.

The distinct texts of a job, sorted, are cut into parts of fixed size. Each part is one file in
raygen's cache, written as a whole and named by what its numbers depend on: the model, the prompt,
the number format and the texts of the job. So a stopped job goes on where it was, and gives the
bytes that it would have given.
"""

import hashlib
import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from raygen.models.language import cache_directory
from raygen.storage import Store
from raygen.taxonomy import ACTIVITY_TYPES

Float32Array = npt.NDArray[np.float32]

PART = 256
"""Texts of a part, the unit of resumption."""

Ask = Callable[[list[str]], npt.NDArray[np.float64]]
Report = Callable[[int, int, int], None]


def answer(texts: list[str], model: str, ask: Ask, report: Report) -> Float32Array:
    """Return P(activity type | POI) of texts, asking each distinct one at most once.

    Parameters
    ----------
    texts
        Of N POIs, repeats and all.
    model
        What an answer depends on besides the texts.
    ask
        Distinct texts to distributions (M, 15).
    report
        Called with the distinct texts answered, all of them, and those kept from before.

    Returns
    -------
    distribution
        Shape (N, 15).
    """
    distinct = sorted(set(texts))
    words = "\x00".join([model, str(PART), *distinct])
    name = hashlib.sha256(words.encode()).hexdigest()[:32]
    store = Store(str(cache_directory() / "annotation" / name))
    rows: list[Float32Array] = []
    kept = done = 0
    for start in range(0, len(distinct), PART):
        part = distinct[start : start + PART]
        file = f"part-{start // PART:05d}.npy"
        found = _read(store, file, len(part))
        if found is None:
            found = ask(part).astype(np.float32)
            store.write(file, _bytes(found))
        else:
            kept += len(part)
        rows.append(found)
        done += len(part)
        report(done, len(distinct), kept)
    place = {text: row for row, text in enumerate(distinct)}
    every = np.concatenate([np.empty((0, len(ACTIVITY_TYPES)), dtype=np.float32), *rows])
    return every[np.array([place[text] for text in texts], dtype=np.int64)]


def _read(store: Store, file: str, rows: int) -> Float32Array | None:
    """Return a kept part; None where there is none or it is not one."""
    if store.size(file) is None:
        return None
    try:
        found = np.load(io.BytesIO(store.read(file)), allow_pickle=False)
    except (ValueError, EOFError):
        return None  # asked anew and replaced
    sound = found.dtype == np.float32 and found.shape == (rows, len(ACTIVITY_TYPES))
    return found if sound else None


def _bytes(array: Float32Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
