"""Tables of a population for figures: some of its shards, evenly spaced, in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raygen import manifest
from raygen.errors import DataError
from raygen.manifest import Manifest
from raygen.schema import tables_of
from raygen.storage import Store


def read_sample(store: Store, book: Manifest, persons: int) -> dict[str, pa.Table]:
    """Read whole shards of a population.

    Parameters
    ----------
    store, book
        The population and its manifest.
    persons
        About how many persons to read, > 0; at least one shard is read.

    Returns
    -------
    tables
        By name, schemas ``tables_of`` the run; shards evenly spaced over the run, in order.

    Raises
    ------
    DataError
        If a file cannot be read.
    """
    total = book.rows["persons"]
    shards = book.identity.shards
    wanted = min(shards, max(1, round(shards * persons / max(total, 1))))
    chosen = np.unique(np.linspace(0, shards - 1, wanted).round().astype(int))
    return {
        name: pa.concat_tables([_read(store, name, int(shard)) for shard in chosen])
        for name in tables_of(book.identity.config)
    }


def _read(store: Store, name: str, shard: int) -> pa.Table:
    path = f"{name}/{manifest.part(shard)}.parquet"
    try:
        return pq.read_table(pa.BufferReader(store.read(path)))
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{store.path(path)}: cannot be read: {error}; see `raygen validate`"
        raise DataError(msg) from None
