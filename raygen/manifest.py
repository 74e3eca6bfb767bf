"""What a population directory says of itself.

_receipts/part-00017.json   one shard is done: its files, what it cost, what was counted
manifest.json               the whole run: what made it and every file with rows, bytes, SHA-256
run.json                    what differs between two runs of equal bytes: times, versions, commit

The receipt is written after the files of its shard, so a shard with a receipt is complete.
manifest.json is written last, so a population with a manifest is complete.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from raygen import __version__
from raygen.config import RunConfig
from raygen.errors import ConfigError, DataError
from raygen.schema import TABLES, tables_of
from raygen.storage import Store

MANIFEST = "manifest.json"
RUN = "run.json"
RECEIPTS = "_receipts"

_BIT_SET = 2**26  # states below which they are kept as a set of bits
_GAPS = "gaps:"

_NEUTRAL: dict[str, Any] = {
    "output": True,
    "weights": True,
    "city": True,
    "compute": {"workers", "in_flight", "attempts", "shard_timeout_s"},
    "trajectories": {"language": {"folder"}},
}
"""Configuration that cannot change a byte; city and weights enter by their digests instead."""

T = TypeVar("T", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Record):
    """One Parquet file: its rows, its size and its SHA-256."""

    rows: int
    bytes: int
    sha256: str


class Cost(_Record):
    """What a stage took for one shard."""

    stage: str
    wall_s: float
    """Elapsed seconds."""
    cpu_s: float
    """CPU-seconds of all threads of the actor's process."""
    peak_bytes: int
    """Largest resident memory of the actor's process so far."""


class Receipt(_Record):
    """One shard is done."""

    shard: int
    run: str
    """Digest of the run, see ``RunIdentity``."""
    files: dict[str, FileEntry]
    """By path below the population, one file for each table."""
    costs: tuple[Cost, ...]
    counters: dict[str, int]
    """Events worth counting: arrivals planned, plan states asked of the LLM, trips by mode …"""
    plan_states: str
    """Distinct plan states that the shard met, see ``pack``; many shards meet the same ones."""


class SourceEntry(_Record):
    """A city or a model: its digest, and how its figures came to be known."""

    name: str
    digest: str
    provenance: dict[str, str]


class RunIdentity(_Record):
    """Everything that decides a run's bytes."""

    raygen: str
    seed: int
    config: dict[str, Any]
    """The resolved configuration without the keys that cannot change a byte."""
    city: SourceEntry
    models: tuple[SourceEntry, ...]
    zone_ids: tuple[int, ...]
    """The city's zones, so that a population can be checked without its city."""
    shards: int

    @property
    def digest(self) -> str:
        """SHA-256 over the identity."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Manifest(_Record):
    """A complete population: what made it, and its files."""

    run: str
    identity: RunIdentity
    rows: dict[str, int]
    """Rows of each table."""
    files: dict[str, FileEntry]


def identify(
    config: RunConfig,
    city: SourceEntry,
    models: tuple[SourceEntry, ...],
    zone_ids: tuple[int, ...],
    shards: int,
) -> RunIdentity:
    """Return what decides the bytes of a run; the order of models and zones is kept."""
    return RunIdentity(
        raygen=__version__,
        seed=config.seed,
        config=config.model_dump(mode="json", exclude=_NEUTRAL),
        city=city,
        models=models,
        zone_ids=zone_ids,
        shards=shards,
    )


def pack(states: npt.NDArray[np.int64]) -> str:
    """Return distinct plan states, sorted, as text: Base64 of a zlib-compressed bit set.

    States of places that are not quantised are too large for it: of the gaps between them, marked.
    """
    if states.max(initial=-1) >= _BIT_SET:
        gaps = np.diff(states, prepend=0).astype("<i8").tobytes()
        return _GAPS + base64.b64encode(zlib.compress(gaps)).decode()
    met = np.zeros(int(states.max(initial=-1)) + 1, dtype=np.bool_)
    met[states] = True
    return base64.b64encode(zlib.compress(np.packbits(met).tobytes())).decode()


def unpack(text: str) -> npt.NDArray[np.int64]:
    """Return the plan states that ``pack`` wrote, sorted."""
    if text.startswith(_GAPS):
        gaps = zlib.decompress(base64.b64decode(text.removeprefix(_GAPS)))
        return np.cumsum(np.frombuffer(gaps, dtype="<i8")).astype(np.int64)
    bits = zlib.decompress(base64.b64decode(text))
    return np.flatnonzero(np.unpackbits(np.frombuffer(bits, dtype=np.uint8))).astype(np.int64)


def part(shard: int) -> str:
    """Return the name that all files of a shard carry, without the extension."""
    return f"part-{shard:05d}"


def seal(store: Store, receipt: Receipt) -> None:
    """Write a shard's receipt; call it after its files."""
    text = receipt.model_dump_json(indent=2) + "\n"
    store.write(f"{RECEIPTS}/{part(receipt.shard)}.json", text.encode())


def begin(store: Store, identity: RunIdentity, resume: bool) -> dict[int, Receipt]:
    """Find what is done of a run.

    Parameters
    ----------
    store
        The population's directory, which may not exist yet.
    identity
        Of the run about to start.
    resume
        Whether shards that are done may be kept.

    Returns
    -------
    done
        Receipts by shard, in order: those whose files are there with their sizes.

    Raises
    ------
    ConfigError
        If the directory holds a population and ``resume`` is false, or holds one of another run.
    """
    receipts = [_receipt(store, name) for name in store.names(RECEIPTS) if name.endswith(".json")]
    occupied = receipts or store.size(MANIFEST) is not None
    if occupied and not resume:
        msg = f"{store.location}: holds a population already; continue it with --resume, or give "
        msg += "another --output"
        raise ConfigError(msg)
    if store.size(MANIFEST) is not None:
        _same_run(store, MANIFEST, load(store).run, identity)
    for receipt in receipts:
        _same_run(store, f"{RECEIPTS}/{part(receipt.shard)}.json", receipt.run, identity)
    _sweep(store)
    return {r.shard: r for r in receipts if r.shard < identity.shards and _whole(store, r)}


def _sweep(store: Store) -> None:
    """Remove what killed writers left."""
    for folder in (*TABLES, RECEIPTS):
        store.sweep(folder)


def _same_run(store: Store, name: str, digest: str, identity: RunIdentity) -> None:
    if digest != identity.digest:
        msg = f"{store.path(name)}: belongs to a run of another configuration, city, models or "
        msg += f"version ({digest[:12]}…, this one is {identity.digest[:12]}…); give another "
        msg += "--output"
        raise ConfigError(msg)


def _whole(store: Store, receipt: Receipt) -> bool:
    return all(store.size(name) == entry.bytes for name, entry in receipt.files.items())


def _receipt(store: Store, name: str) -> Receipt:
    return _parse(store, f"{RECEIPTS}/{name}", Receipt)


def receipts_of(store: Store) -> list[Receipt]:
    """Return all receipts of a population, in the order of its shards."""
    return [_receipt(store, name) for name in store.names(RECEIPTS) if name.endswith(".json")]


def finish(
    store: Store, identity: RunIdentity, receipts: Mapping[int, Receipt], run: dict[str, Any]
) -> Manifest:
    """Write ``run.json`` and then ``manifest.json``, which completes the population.

    Parameters
    ----------
    store
        The population's directory.
    identity
        Of the run.
    receipts
        By shard, every one of them.
    run
        JSON of what may differ between two runs of equal bytes.

    Returns
    -------
    manifest
        As written. Its bytes depend on the identity and the files' bytes alone.

    Raises
    ------
    DataError
        If a shard has no receipt.
    """
    missing = [shard for shard in range(identity.shards) if shard not in receipts]
    if missing:
        msg = f"{store.location}: {len(missing)} of {identity.shards} shards have no receipt, "
        msg += f"first {missing[0]}"
        raise DataError(msg)
    files = {
        name: entry
        for table in tables_of(identity.config)
        for shard in range(identity.shards)
        for name, entry in receipts[shard].files.items()
        if name.startswith(f"{table}/")
    }
    rows = {
        table: sum(entry.rows for name, entry in files.items() if name.startswith(f"{table}/"))
        for table in tables_of(identity.config)
    }
    _sweep(store)  # a writer that was killed in this run left its file half written
    manifest = Manifest(run=identity.digest, identity=identity, rows=rows, files=files)
    store.write(RUN, (json.dumps(run, indent=2) + "\n").encode())
    store.write(MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
    return manifest


def load(store: Store) -> Manifest:
    """Read a population's manifest.

    Raises
    ------
    DataError
        If there is none (the run is not complete) or it is not a manifest.
    """
    return _parse(store, MANIFEST, Manifest)


def _parse(store: Store, name: str, kind: type[T]) -> T:
    try:
        return kind.model_validate_json(store.read(name))
    except FileNotFoundError:
        msg = f"{store.path(name)}: no such file; the population is not complete"
        raise DataError(msg) from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(step) for step in fault["loc"])
        msg = (
            f"{store.path(name)}: not a {kind.__name__.lower()}: {where or 'JSON'}: {fault['msg']}"
        )
        raise DataError(msg) from None
