"""``raygen annotate``: the POIs of a city or a file, with the types of what people do there."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.annotation import prompts
from raygen.annotation.answers import Report, answer
from raygen.annotation.categories import categories
from raygen.annotation.metrics import ranking
from raygen.annotation.pois import Pois, read_pois
from raygen.annotation.tags import annotate_tags, tag_table
from raygen.city_files.layout import TOP_TYPES
from raygen.city_files.writer import with_geo_metadata
from raygen.config import ComputeConfig, PlannerConfig
from raygen.errors import DataError
from raygen.schema import CATEGORY, category
from raygen.storage import Store
from raygen.taxonomy import POI_CATEGORIES, PROVENANCE

FloatArray = npt.NDArray[np.float64]
Method = Literal["llm", "tags"]

METADATA = b"raygen_annotation"
"""Key of the Parquet file's metadata that says, as JSON, how the annotation was made."""

ANNOTATED = pa.schema(
    [
        pa.field("poi_id", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("tags", pa.string(), nullable=False),
        pa.field("category", CATEGORY, nullable=False),
        pa.field("activity_types", pa.list_(pa.int8(), TOP_TYPES), nullable=False),
        pa.field("activity_probabilities", pa.list_(pa.float32(), TOP_TYPES), nullable=False),
        pa.field("provenance", CATEGORY, nullable=False),
        pa.field("geometry", pa.binary()),
    ]
)
"""One row per POI. As a city's ``pois.parquet``, whose ``zone_id`` is kept where there is one;
``provenance`` says how a row's types came to be known. The probabilities are those of the top
three types, renormalised to sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How POIs are annotated."""

    method: Method = "llm"
    """``llm``: likelihoods of the language model; ``tags``: the published table."""

    weights: Path | None = None
    """Directory with a folder ``annotation``; the language model as it comes where None."""

    language: PlannerConfig = field(default_factory=PlannerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class Annotation:
    """What a method says of N POIs."""

    distribution: FloatArray
    """P(activity type | POI), shape (N, 15)."""
    category: npt.NDArray[np.int8]
    """Index into POI_CATEGORIES, shape (N,)."""
    provenance: str
    """One of PROVENANCE."""
    made_with: dict[str, str]
    """Method, and digests of what it used."""


def annotate(source: Path, output: Path, settings: Settings, report: Report) -> Path:
    """Annotate POIs and write them as one Parquet file, which appears as a whole.

    Parameters
    ----------
    source
        City directory or POI file, see ``raygen.annotation.pois``.
    output
        File to write.
    settings
        How.
    report
        Called as the language model answers, see ``answers.answer``.

    Returns
    -------
    output
        GeoParquet with the columns of ``ANNOTATED``.

    Raises
    ------
    DataError
        If the POIs cannot be read.
    WeightsError
        If the language model or the adapter is missing or does not fit.
    OSError
        If the output cannot be written; nothing is asked before that is known.
    """
    if output.suffix != ".parquet":
        msg = f"{output}: the output must be a .parquet file"
        raise DataError(msg)
    pois = read_pois(source)
    store = Store(str(output.parent))
    store.probe()
    found = by_tags(pois) if settings.method == "tags" else by_model(pois, settings, report)
    buffer = io.BytesIO()
    pq.write_table(table_of(pois, found), buffer, compression="zstd")
    store.write(output.name, buffer.getvalue())
    return output


def by_tags(pois: Pois) -> Annotation:
    """Annotate by the published table; a POI without a known tag is uniform over the types."""
    found = annotate_tags(pois.tags)
    return Annotation(
        distribution=found.distribution,
        category=_category(found.category, found.distribution),
        provenance="assumed",
        made_with={"method": "tags", "table": tag_table().digest},
    )


def by_model(pois: Pois, settings: Settings, report: Report) -> Annotation:
    """Annotate by the language model, categories by ``_category``."""
    from raygen.annotation.model import load_annotator  # torch, which the tags do without

    annotator = load_annotator(settings.weights, settings.language, settings.compute)
    found = answer(texts_of(pois), annotator.digest, annotator.annotate, report)
    distribution = found.astype(np.float64)
    tags = annotate_tags(pois.tags)
    return Annotation(
        distribution=distribution,
        category=_category(np.where(tags.exact, tags.category, -1), distribution),
        provenance=annotator.label,
        made_with={"method": "llm", "model": annotator.digest},
    )


def _category(known: npt.NDArray[np.int8], distribution: FloatArray) -> npt.NDArray[np.int8]:
    """Return the known category of POIs, and where it is -1, the most probable by their types."""
    guessed = np.argmax(categories(distribution), axis=1)
    return np.where(known < 0, guessed, known).astype(np.int8)


def texts_of(pois: Pois) -> list[str]:
    """Return the POIs in natural language, names and tags."""
    keys = tag_table().keys
    return [
        prompts.describe(name, tags, keys) for name, tags in zip(pois.name, pois.tags, strict=True)
    ]


def table_of(pois: Pois, found: Annotation) -> pa.Table:
    """Return the annotated POIs as a table of ``ANNOTATED``, with ``zone_id`` of a city's."""
    types = ranking(found.distribution, TOP_TYPES)
    top = np.take_along_axis(found.distribution, types, axis=1)
    top /= top.sum(axis=1, keepdims=True)
    count = len(pois)
    label = pa.array(np.full(count, PROVENANCE.index(found.provenance), dtype=np.int8))
    columns = {
        "poi_id": pa.array(pois.poi_id),
        "name": pa.array(pois.name, pa.string()),
        "tags": pa.array([_text(tags) for tags in pois.tags], pa.string()),
        "category": category(pa.array(found.category), POI_CATEGORIES),
        "activity_types": _lists(types.astype(np.int8)),
        "activity_probabilities": _lists(top.astype(np.float32)),
        "provenance": category(label, PROVENANCE),
        "geometry": pois.geometry,
    }
    schema = ANNOTATED
    if pois.zone_id is not None:
        columns["zone_id"] = pa.array(pois.zone_id)
        schema = schema.append(pa.field("zone_id", pa.int32(), nullable=False))
    table = pa.table(columns, schema=schema)
    if table.column("geometry").null_count == 0 and count:
        table = with_geo_metadata(table)
    kept = table.schema.metadata or {}
    return table.replace_schema_metadata({**kept, METADATA: json.dumps(found.made_with).encode()})


def _text(tags: dict[str, str]) -> str:
    return ";".join(f"{key}={value}" for key, value in tags.items())


def _lists(rows: npt.NDArray[np.int8] | npt.NDArray[np.float32]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
