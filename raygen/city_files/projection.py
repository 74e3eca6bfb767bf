"""Between longitude and latitude (EPSG:4326) and a city's projected CRS."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer

FloatArray = npt.NDArray[np.float64]
ShapeArray = npt.NDArray[np.object_]


@lru_cache(maxsize=8)
def _transformer(crs: str) -> Transformer:
    return Transformer.from_crs(4326, crs, always_xy=True)


def to_metres(lonlat: FloatArray, crs: str) -> FloatArray:
    """Return points of shape (M, 2) in degrees as metres in ``crs``."""
    x, y = _transformer(crs).transform(lonlat[:, 0], lonlat[:, 1])
    return np.stack([x, y], axis=1)


def to_degrees(xy: FloatArray, crs: str) -> FloatArray:
    """Return points of shape (M, 2) in metres in ``crs`` as longitude and latitude."""
    lon, lat = _transformer(crs).transform(xy[:, 0], xy[:, 1], direction="INVERSE")
    return np.stack([lon, lat], axis=1)


def shapes_to_metres(shapes: ShapeArray, crs: str) -> ShapeArray:
    """Return shapes in degrees as shapes in ``crs``."""
    return np.asarray(shapely.transform(shapes, lambda lonlat: to_metres(lonlat, crs)))


def shapes_to_degrees(shapes: ShapeArray, crs: str) -> ShapeArray:
    """Return shapes in ``crs`` as shapes in degrees."""
    return np.asarray(shapely.transform(shapes, lambda xy: to_degrees(xy, crs)))
