"""The files of a city directory, their columns, and the card ``city.toml`` (DESIGN 3).

city.toml                          the card: ``CityCard``
zones.parquet, regions.parquet,    GeoParquet in EPSG:4326: ``ZONES``, ``REGIONS``, ``POIS``
pois.parquet
road_nodes.parquet,                GeoParquet in EPSG:4326: ``ROAD_NODES``, ``ROAD_EDGES``
road_edges.parquet
controls.parquet                   ``CONTROLS``
skims/NAME.npy                     float32 [zones, zones], row origin, column destination: ``SKIMS``
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from raygen.config import Section
from raygen.schema import CATEGORY
from raygen.taxonomy import JOB_KINDS, POI_CATEGORIES

CARD = "city.toml"
CONTROLS_FILE = "controls.parquet"

H3_RESOLUTION = 8
"""Resolution of the regions; a cell is about 0.8 km² at 34° north."""

TOP_TYPES = 3
"""Activity types that a POI is annotated with (DataFusion 4.1.1: top three with probabilities)."""

SKIMS = ("distance_m", "time_s_free", "time_s_peak")
"""Names of the matrices in ``skims/``: metres, seconds at free flow, seconds in the peak."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_GEOMETRY = _required("geometry", pa.binary())

ZONES = pa.schema(
    [
        _required("zone_id", pa.int32()),
        _required("subregion", pa.string()),
        _required("population", pa.int32()),
        _required("households", pa.int32()),
        *(_required(f"jobs_{kind}", pa.float32()) for kind in JOB_KINDS),
        _required("school_places", pa.float32()),
        _required("college_places", pa.float32()),
        pa.field("mean_commute_s", pa.float32()),
        _required("area_m2", pa.float64()),
        _GEOMETRY,
    ]
)
"""One row per zone (polygon); ``mean_commute_s`` is null where it is not known."""

REGIONS = pa.schema(
    [
        _required("region_id", pa.uint64()),
        _required("zone_id", pa.int32()),
        _required("poi_distribution", pa.list_(pa.float32(), len(POI_CATEGORIES))),
        _required("population", pa.float32()),
        _GEOMETRY,
    ]
)
"""One row per region (H3 cell, polygon) with the zone that it stands for; see ``regions``."""

POIS = pa.schema(
    [
        _required("poi_id", pa.int64()),
        _required("zone_id", pa.int32()),
        _required("name", pa.string()),
        _required("tags", pa.string()),
        _required("category", CATEGORY),
        _required("activity_types", pa.list_(pa.int8(), TOP_TYPES)),
        _required("activity_probabilities", pa.list_(pa.float32(), TOP_TYPES)),
        _GEOMETRY,
    ]
)
"""One row per POI (point); tags as ``key=value`` joined by ``;``; activity types index
ACTIVITY_TYPES, most probable first, their probabilities sum to 1."""

ROAD_NODES = pa.schema(
    [_required("node_id", pa.int64()), pa.field("zone_id", pa.int32()), _GEOMETRY]
)
"""One row per node (point); ``zone_id`` is set on the centroids, where zones join the network."""

ROAD_EDGES = pa.schema(
    [
        _required("segment_id", pa.int64()),
        _required("u", pa.int64()),
        _required("v", pa.int64()),
        _required("length_m", pa.float32()),
        _required("speed_kph", pa.float32()),
        _required("lanes", pa.int8()),
        _required("highway", pa.string()),
        _required("name", pa.string()),
        _GEOMETRY,
    ]
)
"""One row per directed segment (line string) from node ``u`` to node ``v``; speed at free flow."""

CONTROLS = pa.schema(
    [
        _required("zone_id", pa.int32()),
        _required("households", pa.int32()),
        _required("population", pa.int32()),
        pa.field("age_under_18", pa.float64()),
        pa.field("age_18_24", pa.float64()),
        pa.field("age_65_plus", pa.float64()),
        pa.field("labour_force", pa.float64()),
        pa.field("income_under_25k", pa.float64()),
        pa.field("income_over_200k", pa.float64()),
        pa.field("income_below_median", pa.float64()),
        pa.field("median_income", pa.float64()),
        pa.field("no_vehicles", pa.float64()),
    ]
)
"""Marginals of each zone, in the zones' order; ages and labour force count persons, income and
vehicles count households, ``median_income`` is dollars a year; null where it is not known."""

GEOMETRY_TYPES = {
    "zones.parquet": ("Polygon", "MultiPolygon"),
    "regions.parquet": ("Polygon",),
    "pois.parquet": ("Point",),
    "road_nodes.parquet": ("Point",),
    "road_edges.parquet": ("LineString",),
}
"""Geometry types allowed in each GeoParquet file."""

SCHEMAS = {
    "zones.parquet": ZONES,
    "regions.parquet": REGIONS,
    "pois.parquet": POIS,
    "road_nodes.parquet": ROAD_NODES,
    "road_edges.parquet": ROAD_EDGES,
    CONTROLS_FILE: CONTROLS,
}
"""Columns of each table; a file may have more."""


Provenance = Literal["observed", "calibrated", "synthesised", "assumed"]
"""A word of ``raygen.taxonomy.PROVENANCE``."""


class Source(Section):
    """A data set that the city was made from."""

    name: str
    """Title, publisher and year."""

    licence: str
    """Terms under which it is used."""


class CityCard(Section):
    """The card ``city.toml``."""

    name: Annotated[str, Field(min_length=1)]
    """Name of the city, for people."""

    crs: str
    """Projected CRS in metres, e.g. ``EPSG:32611``."""

    time_zone: str
    """IANA name, e.g. ``America/Los_Angeles``."""

    bbox: tuple[float, float, float, float]
    """West, south, east, north, in degrees."""

    region_scheme: Literal["h3:8"]
    """How regions are cut: H3 cells of resolution 8."""

    sources: tuple[Source, ...] = ()
    """What the city was made from."""

    provenance: dict[str, Provenance]
    """How the figures of a table, or of ``table.column``, came to be known."""

    notes: dict[str, str] = Field(default={})
    """How a table was made, in words."""


@dataclass(frozen=True)
class CityTables:
    """All that a city directory holds, in memory; the tables have the layout's schemas."""

    card: CityCard
    zones: pa.Table
    regions: pa.Table
    pois: pa.Table
    road_nodes: pa.Table
    road_edges: pa.Table
    controls: pa.Table
    skims: dict[str, npt.NDArray[np.float32]]

    def by_file(self) -> dict[str, pa.Table]:
        """Return the tables by file name, in the order of ``SCHEMAS``."""
        return {
            "zones.parquet": self.zones,
            "regions.parquet": self.regions,
            "pois.parquet": self.pois,
            "road_nodes.parquet": self.road_nodes,
            "road_edges.parquet": self.road_edges,
            CONTROLS_FILE: self.controls,
        }
