"""Panels of a population's GPS trajectories: points on the roads, and their speeds."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from matplotlib.collections import LineCollection

from raygen.city import City
from raygen.city_files.projection import to_metres
from raygen.network.city_roads import read_city_roads
from raygen.shards import columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_KPH = 3.6
_FASTEST_KPH = 150.0
_MARGIN_KM = 1.0
_FRAMED = 0.99  # share of the points inside each side of the map


class Points:
    """GPS points of trajectories, in the city's metres."""

    def __init__(self, table: pa.Table, city: City) -> None:
        """Read a table of schema TRAJECTORIES."""
        arrays = columns(table)
        lines = shapely.from_wkb(arrays["geometry"])
        self.xy: FloatArray = to_metres(shapely.get_coordinates(lines), city.crs)
        self.at: IntArray = arrays["timestamps_at"].astype(np.int64)
        clock = arrays["timestamps"].astype("datetime64[ms]").astype(np.int64)
        self.time_s: FloatArray = clock / 1000.0

    def speeds(self) -> FloatArray:
        """Return km/h between neighbouring points of one trajectory, shape (S,)."""
        inside = np.ones(len(self.xy), dtype=np.bool_)
        inside[self.at[:-1][np.diff(self.at) > 0]] = False
        metres = np.hypot(*np.diff(self.xy, axis=0, prepend=self.xy[:1]).T)
        seconds = np.diff(self.time_s, prepend=self.time_s[:1])
        return metres[inside] / seconds[inside] * _KPH


def on_the_roads(axes: "Axes", points: Points, city: City) -> None:
    """Draw the points of all trajectories over the city's roads."""
    network = read_city_roads(Path(city.path))
    road = to_metres(network.points, city.crs) / 1000.0
    lines = np.split(road, network.point_at[1:-1])
    axes.add_collection(LineCollection(list(lines), colors="#cccccc", linewidths=0.4))
    x, y = points.xy[:, 0] / 1000.0, points.xy[:, 1] / 1000.0
    size = float(np.clip(3e4 / max(len(x), 1), 0.3, 4.0))
    axes.scatter(x, y, s=size, color="#e45756", alpha=0.6, lw=0)
    for which, values in (("x", x), ("y", y)):
        low, high = np.quantile(values, (1 - _FRAMED, _FRAMED))
        axes.set(**{f"{which}lim": (low - _MARGIN_KM, high + _MARGIN_KM)})
    axes.set_aspect("equal")
    count = len(points.at) - 1
    axes.set(xlabel="easting, km", ylabel="northing, km")
    axes.set_title(f"{len(x):,} GPS points of {count:,} sampled car trips")


def speeds(axes: "Axes", points: Points) -> None:
    """Draw the speeds between points of a trajectory."""
    kph = points.speeds()
    axes.hist(np.minimum(kph, _FASTEST_KPH), bins=np.arange(0, _FASTEST_KPH + 1, 5).tolist(),
              weights=np.full(len(kph), 1 / max(len(kph), 1)), color="#4c78a8")  # fmt: skip
    middle, fast = np.quantile(kph, (0.5, 0.95)) if len(kph) else (0.0, 0.0)
    text = f"median {middle:.0f} km/h, 95th percentile {fast:.0f} km/h"
    axes.text(0.97, 0.95, text, transform=axes.transAxes, va="top", ha="right")
    axes.set(xlim=(0, _FASTEST_KPH), xlabel="speed between points, km/h", ylabel="share")
    axes.set_title("Speeds along the trajectories")
