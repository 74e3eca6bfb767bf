"""Whether a population directory keeps its promises: manifest, digests, schemas and invariants.

Shards are read one at a time, so memory is that of one shard whatever the population's size.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raygen import manifest, schema
from raygen.errors import DataError
from raygen.household_rules import household_rules
from raygen.invariants import CHECKS, Rule
from raygen.manifest import Manifest
from raygen.shards import Columns, Shard, columns
from raygen.storage import Store
from raygen.taxonomy import ACTIVITY_TYPES, EMPLOYMENT, MODES, ROLES, SEXES, STUDENT
from raygen.trajectory_rules import trajectory_rules

_EXAMPLES = 3

_WORDS = {
    "sex": SEXES,
    "employment": EMPLOYMENT,
    "student": STUDENT,
    "role": ROLES,
    "type": ACTIVITY_TYPES,
    "purpose": ACTIVITY_TYPES,
    "mode": MODES,
}

_IDS = {"household_id": "households", "person_id": "persons", "trip_id": "trips"}

_FILES = "every file is listed, and every listed file is there"
_DIGESTS = "files have the manifest's bytes and SHA-256"
_SCHEMAS = "tables have their schema and vocabularies"
_ROWS = "row counts are the manifest's"


@dataclass
class Check:
    """One rule: how many rows (or files) were looked at, and how many break it."""

    name: str
    checked: int = 0
    violations: int = 0
    examples: list[str] = field(default_factory=list[str])
    """The first that break it."""

    def add(self, checked: int, broken: list[str], violations: int | None = None) -> None:
        """Count one shard's or file's outcome."""
        self.checked += checked
        self.violations += len(broken) if violations is None else violations
        self.examples += broken[: _EXAMPLES - len(self.examples)]


def validate(population: str) -> list[Check]:
    """Check a population.

    Parameters
    ----------
    population
        Directory or URI of a complete population.

    Returns
    -------
    checks
        Every rule, in order (those of households as the run's configuration promised them), with
        its count of violations; all zero for a sound population. A shard
        with a file that is missing, altered or of another schema is not read further.

    Raises
    ------
    DataError
        If there is no manifest, or it cannot be read.
    """
    store = Store(population)
    book = manifest.load(store)
    checks = {name: Check(name) for name in (_FILES, _DIGESTS, _SCHEMAS, _ROWS)}
    wanted = schema.tables_of(book.identity.config)
    rules = CHECKS + household_rules(book.identity.config)
    rules += trajectory_rules(book.identity.config)
    checks |= {rule.name: Check(rule.name) for rule in rules}
    _check_files(store, book, checks[_FILES])
    first = dict.fromkeys(_IDS, 0)
    for shard in range(book.identity.shards):
        tables = dict(_sound_tables(store, book, shard, checks))
        if len(tables) == len(wanted):
            _check_shard(shard, _shard(tables, book, first), rules, checks)
            first |= _next_ids(tables)
        else:
            first = {}
    _check_rows(book, checks[_ROWS])
    return list(checks.values())


def _check_files(store: Store, book: Manifest, check: Check) -> None:
    """Compare the folders' files with the manifest's."""
    tables = schema.tables_of(book.identity.config)
    found = {f"{table}/{name}" for table in schema.TABLES for name in store.names(table)}
    listed = {
        f"{table}/{manifest.part(shard)}.parquet"
        for table in tables
        for shard in range(book.identity.shards)
    }
    broken = [f"{name}: listed, not there" for name in sorted(set(book.files) - found)]
    broken += [f"{name}: there, not listed" for name in sorted(found - set(book.files))]
    broken += [f"{name}: not in the manifest" for name in sorted(listed - set(book.files))]
    check.add(len(found | listed), broken)


def _check_rows(book: Manifest, check: Check) -> None:
    """Compare the manifest's totals with the sums over its files."""
    for table in schema.tables_of(book.identity.config):
        total = sum(e.rows for name, e in book.files.items() if name.startswith(f"{table}/"))
        wrong = total != book.rows.get(table)
        check.add(1, [f"{table}: files have {total}, total is {book.rows.get(table)}"] * wrong)


def _sound_tables(
    store: Store, book: Manifest, shard: int, checks: dict[str, Check]
) -> Iterator[tuple[str, pa.Table]]:
    """Read the shard's tables whose bytes, rows and schema are as they should be."""
    for name in schema.tables_of(book.identity.config):
        path = f"{name}/{manifest.part(shard)}.parquet"
        entry = book.files.get(path)
        if entry is None or store.size(path) is None:
            continue  # counted by _check_files
        content = store.read(path)
        digest = hashlib.sha256(content).hexdigest()
        sound = digest == entry.sha256 and len(content) == entry.bytes
        checks[_DIGESTS].add(1, [] if sound else [f"{path}: SHA-256 {digest[:12]}…"])
        if not sound:
            continue
        table = pq.read_table(pa.BufferReader(content))
        wrong = table.num_rows != entry.rows
        checks[_ROWS].add(1, [f"{path}: {table.num_rows} rows, manifest {entry.rows}"] * wrong)
        fault = _schema_fault(table, name)
        checks[_SCHEMAS].add(1, [f"{path}: {fault}"] if fault else [])
        if not fault:
            yield name, table


def _schema_fault(table: pa.Table, name: str) -> str:
    """Return what is wrong with a table's columns, empty where nothing is."""
    try:
        schema.check(table, schema.TABLES[name], name)
    except DataError as error:
        return str(error)
    for column, words in _WORDS.items():
        if column in table.column_names:
            for chunk in table.column(column).chunks:
                if tuple(chunk.dictionary.to_pylist()) != words:
                    return f"{column}: vocabulary is not {words}"
    return ""


def _shard(tables: dict[str, pa.Table], book: Manifest, first: dict[str, int]) -> Shard:
    arrays = {name: columns(table) for name, table in tables.items()}
    return Shard(
        **{"trajectories": {}} | arrays,
        days=int(book.identity.config["chains"]["days"]),
        zone_ids=np.sort(np.asarray(book.identity.zone_ids, dtype=np.int64)),
        first=dict(first),
    )


def _next_ids(tables: dict[str, pa.Table]) -> dict[str, int]:
    """Return the smallest ids that the shard after this one may have."""
    return {
        name: tables[table].column(name)[-1].as_py() + 1
        for name, table in _IDS.items()
        if tables[table].num_rows
    }


def _check_shard(
    number: int, shard: Shard, rules: tuple[Rule, ...], checks: dict[str, Check]
) -> None:
    arrays: dict[str, Columns] = {
        "households": shard.households,
        "persons": shard.persons,
        "activities": shard.activities,
        "trips": shard.trips,
        "trajectories": shard.trajectories,
    }
    for rule in rules:
        broken = rule.broken(shard)
        rows = np.flatnonzero(broken)
        shown = [_describe(number, rule, arrays[rule.table], row) for row in rows[:_EXAMPLES]]
        checks[rule.name].add(len(broken), shown, violations=len(rows))


def _describe(shard: int, rule: Rule, table: Columns, row: npt.NDArray[np.intp]) -> str:
    values = ", ".join(f"{name} {_word(name, table[name][row])}" for name in rule.show)
    return f"{rule.table}/{manifest.part(shard)}.parquet row {row}: {values}"


def _word(name: str, value: object) -> str:
    """Return a value as the table shows it: a code as its word."""
    words = _WORDS.get(name)
    return words[int(str(value))] if words else str(value)
