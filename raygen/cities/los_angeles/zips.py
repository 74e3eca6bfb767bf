"""The 288 ZIP zones of Los Angeles County as arrays: the observed figures, before any split."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import shapely

from raygen.city_files.projection import shapes_to_metres, to_metres

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CRS = "EPSG:32611"
"""UTM zone 11 north, metres."""

FIGURES = Path(__file__).parent / "la_zip_zones.csv"
SHAPES = Path(__file__).parent / "la_zip_zones.geojson"

_MILE2_M2 = 1609.344**2


@dataclass(frozen=True)
class Zips:
    """Figures of each ZIP, in the order of the file; see ``SOURCES.md``."""

    zip: IntArray
    lonlat: FloatArray
    """Shape (288, 2): the ZIP's point."""
    xy: FloatArray
    """Shape (288, 2): the same in ``CRS``."""
    polygon: npt.NDArray[np.object_]
    """Shape (288,): the Voronoi cell of the point in the county, in ``CRS``."""
    land_m2: FloatArray
    population: IntArray
    households: IntArray
    jobs: IntArray
    table: pa.Table
    """All columns of the file."""

    def figure(self, column: str) -> FloatArray:
        """Return a column as float64, NaN where it is not known."""
        return np.asarray(self.table.column(column).to_numpy(), dtype=np.float64)


def read_zips() -> Zips:
    """Read the two source files."""
    table = pa_csv.read_csv(FIGURES)
    features = json.loads(SHAPES.read_text(encoding="utf-8"))["features"]
    by_zip = {int(f["properties"]["zip"]): shapely.from_geojson(json.dumps(f)) for f in features}
    zips = table.column("zip").to_numpy()
    shapes = np.array([by_zip[number] for number in zips.tolist()], dtype=np.object_)
    lonlat = np.stack([table.column("lon").to_numpy(), table.column("lat").to_numpy()], axis=1)
    return Zips(
        zip=zips,
        lonlat=lonlat,
        xy=to_metres(lonlat, CRS),
        polygon=shapes_to_metres(shapes, CRS),
        land_m2=table.column("land_area_sq_mi").to_numpy() * _MILE2_M2,
        population=table.column("population").to_numpy(),
        households=table.column("households").to_numpy(),
        jobs=table.column("jobs_est").to_numpy(),
        table=table,
    )
