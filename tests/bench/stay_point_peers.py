"""Stay points of the peers, for tests/bench/stay_points.py; runs in an environment of their own.

    python tests/bench/stay_point_peers.py TRACES.parquet STAYS.json [all|one]

Writes for each way of calling a peer its CPU seconds and its stays: person, start and end in Unix
seconds, longitude, latitude. The thresholds are 300 m and 300 s; what else there is to set is set
in the ways named (``one``: the first of each peer alone). Reading and converting the traces is not timed.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version

import geopandas as gpd
import pandas as pd

warnings.filterwarnings("ignore")
import movingpandas as mpd  # noqa: E402
import trackintel as ti  # noqa: E402

MINUTES = {"gaps of 15 min end a stay": 15.0, "gaps of 12 h end a stay": 720.0}
DIAMETERS = {"300 m across": 300.0, "600 m across": 600.0}


def positionfixes(frame):
    """Return trackintel's table of fixes."""
    points = gpd.points_from_xy(frame["lon"], frame["lat"])
    columns = {"user_id": frame["person_id"], "tracked_at": frame["time"]}
    return ti.Positionfixes(gpd.GeoDataFrame(columns, geometry=points, crs="EPSG:4326"))


def by_trackintel(frame, gap):
    """Return CPU seconds and stays of trackintel's sliding algorithm."""
    fixes = positionfixes(frame)
    begin = time.process_time()
    _, stays = fixes.generate_staypoints(
        dist_threshold=300.0, time_threshold=5.0, gap_threshold=gap, include_last=True
    )
    spent = time.process_time() - begin
    where = stays.geometry
    return spent, rows(stays["user_id"], stays["started_at"], stays["finished_at"], where)


def by_movingpandas(frame, diameter):
    """Return CPU seconds and stays of movingpandas' detector of stops."""
    points = gpd.points_from_xy(frame["lon"], frame["lat"])
    table = gpd.GeoDataFrame(frame[["person_id"]], geometry=points, crs="EPSG:4326")
    table.index = pd.DatetimeIndex(frame["time"].dt.tz_localize(None))
    paths = mpd.TrajectoryCollection(table, "person_id")
    begin = time.process_time()
    detector = mpd.TrajectoryStopDetector(paths)
    stops = detector.get_stop_points(max_diameter=diameter, min_duration=pd.Timedelta(seconds=300))
    spent = time.process_time() - begin
    return spent, rows(stops["traj_id"], stops["start_time"], stops["end_time"], stops.geometry)


def rows(person, start, end, where):
    """Return stays as lists."""
    epoch = pd.Timestamp(0, tz="UTC")
    clocks = [pd.to_datetime(column, utc=True) for column in (start, end)]
    seconds = [((clock - epoch) / pd.Timedelta(seconds=1)).tolist() for clock in clocks]
    return list(zip([str(p) for p in person], *seconds, where.x, where.y, strict=True))


def main():
    """Run both peers in each way."""
    frame = pd.read_parquet(sys.argv[1]).sort_values(["person_id", "time"], ignore_index=True)
    ways = 1 if sys.argv[3:] == ["one"] else None
    found = {}
    for word, gap in list(MINUTES.items())[:ways]:
        found[f"trackintel, {word}"] = by_trackintel(frame, gap)
    for word, diameter in list(DIAMETERS.items())[:ways]:
        found[f"movingpandas, {word}"] = by_movingpandas(frame, diameter)
    versions = {name: version(name) for name in ("trackintel", "movingpandas")}
    with open(sys.argv[2], "w") as file:
        json.dump({"versions": versions, "found": found}, file)


if __name__ == "__main__":
    main()
