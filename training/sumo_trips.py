"""Taxi trips driven by SUMO among other cars, where congestion is made and not assumed.

Ends, departures, routes by belief and the GPS' error are those of ``training.simulated_trips``;
what lies between, every second of it, is SUMO's: cars that follow and wait for each other, signals,
right of way, queues that spill back. A day is told by a few of its hours, each a run of its own
with a warm-up; other cars, with ends drawn alike, are as many as the hour has. All figures of
``training.sumo_traffic`` are assumed: the set is synthesised. Same graph, traffic, seed and ids:
same trips (a trip does depend on the others, unlike in ``simulated_trips``: they are on the same
roads).
"""

import hashlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.errors import DataError
from raygen.network.graph import FloatArray, IntArray, RowArray
from raygen.trajectories.records import (
    RoadTrajectories,
    Traces,
    joined,
    read_trajectories,
    taken,
    write_trajectories,
)
from raygen.trajectories.sumo_network import (
    EDGE,
    Lanes,
    on_segments,
    read_lanes,
    run_program,
    write_sumo,
)
from training.simulated_trips import SimulatedTrips, TaxiCity, point_noise
from training.sumo_traffic import Tally, Traffic

LOG = logging.getLogger(__name__)

_OTHERS = 100_000_000  # ids of the other cars' trips begin here
_TAXI = "t"
_SETTINGS = (
    "--no-step-log true --duration-log.disable true --no-warnings false --step-length 1 "
    "--default.speeddev 0.1 --device.fcd.probability 0 --device.tripinfo.probability 0 "
    "--fcd-output.skip-empty true --fcd-output.attributes id,lane,pos --output.column-header plain "
    "--precision 3 --time-to-teleport.highways -1"
)

_DRIVER = 'impatience="0.5" jmIgnoreKeepClearTime="20" jmTimegapMinor="0.7"'
"""They push in where nobody lets them: without, every tenth car is stuck at a minor road."""


@dataclass(frozen=True)
class _Cars:
    """Cars of one run with their routes."""

    trip_id: IntArray
    first: IntArray
    route: RowArray
    depart: FloatArray
    ends: FloatArray

    def take(self, rows: IntArray) -> "_Cars":
        first, of = taken(self.first, rows)
        return _Cars(self.trip_id[rows], first, self.route[of], self.depart[rows], self.ends[rows])


class SumoCity:
    """A city whose taxis and other cars are driven by SUMO.

    Parameters
    ----------
    city
        Roads, centres, routes and the GPS.
    traffic
        The other cars.
    work
        Directory for SUMO's files; a temporary one if None.

    Raises
    ------
    DataError
        If SUMO is not installed, or netconvert fails.
    """

    def __init__(self, city: TaxiCity, traffic: Traffic, work: Path | None = None) -> None:
        self.city, self.traffic = city, traffic
        self._temporary = tempfile.TemporaryDirectory() if work is None else None
        self.work = Path(self._temporary.name if self._temporary else work or ".")
        signals = city.signals(traffic.signals)
        write_sumo(city.roads, self.work / "city.net.xml", signals, traffic.cycle_s)
        self.lanes: Lanes = read_lanes(self.work / "city.net.xml", city.roads)
        inner = self.lanes.behind >= 0
        ways = self._pairs(self.lanes.segment[inner], self.lanes.behind[inner])
        self._ways = np.unique(ways)
        # The shortest lane of each segment: where a car may begin and end.
        self._lane_m = np.full(city.roads.segments, np.inf)
        np.minimum.at(self._lane_m, self.lanes.segment[~inner], self.lanes.length[~inner])

    def simulate(self, trip_id: IntArray) -> tuple[SimulatedTrips, Tally]:
        """Drive the taxis of some ids; all of them are on the roads together.

        Parameters
        ----------
        trip_id
            Ids >= 0 and below a hundred millions, each once.

        Returns
        -------
        trips
            Those that arrived, with points every ``interval_s`` of the city's world from the moment
            that they set off; in the order of the hours, then of the ids.
        tally
            What became of all.

        Raises
        ------
        DataError
            If SUMO fails, or no trip is left.
        """
        hours = np.array(self.traffic.hours)
        cars = self._cars(trip_id)
        clock = (cars.depart // 3600).astype(np.int64)
        gap = np.abs((clock[:, None] - hours + 12) % 24 - 12)
        window = gap.argmin(axis=1)
        told = Tally(asked=len(trip_id), no_way=len(trip_id) - len(cars.trip_id))
        found: list[tuple[IntArray, RoadTrajectories]] = []
        for at, hour in enumerate(self.traffic.hours):
            mine = cars.take(np.flatnonzero(window == at))
            depart = 3600.0 * hour + mine.depart % 3600
            ids, made, what = self._hour(hour, _moved(mine, depart))
            told += what
            LOG.info("hour %d: %d trips; %s", hour, len(ids), what)
            if len(ids):
                found.append((ids, made))
        if not found:
            msg = f"sumo trips: none is left; {told}"
            raise DataError(msg)
        ids, truth = np.concatenate([i for i, _ in found]), joined([m for _, m in found])
        return with_gps(self.city, ids, truth, len(trip_id) - len(ids)), told

    def _pairs(self, before: RowArray, after: RowArray) -> IntArray:
        return before.astype(np.int64) * self.city.roads.segments + after

    def _cars(self, trip_id: IntArray) -> _Cars:
        """Return the trips that have a way in SUMO."""
        table, ends = self.city.trips(trip_id)
        lists = self.city.router.route(table).column("segments").combine_chunks()
        cars = _Cars(
            trip_id,
            lists.offsets.to_numpy().astype(np.int64),
            lists.values.to_numpy(),
            table.column("depart_s").to_numpy(),
            ends,
        )
        whole = np.diff(cars.first) > 1
        follows = np.isin(self._pairs(cars.route[:-1], cars.route[1:]), self._ways)
        own = np.repeat(np.arange(len(trip_id)), np.diff(cars.first))
        inside = own[:-1] == own[1:]
        whole[own[:-1][inside & ~follows]] = False
        return cars.take(np.flatnonzero(whole))

    def _others(self, hour: int) -> _Cars:
        """Return the other cars about an hour, departures even in time."""
        traffic = self.traffic
        begin, last = 3600 * hour - traffic.warm_s, 3600 * (hour + 1) + traffic.after_s // 3
        count = round(traffic.volume(hour) * (last - begin) / 3600)
        base = _OTHERS * (1 + hour)
        cars = self._cars(base + np.arange(count))
        depart = begin + (cars.trip_id - base + 0.5) * (last - begin) / count
        return _moved(cars, depart)

    def _hour(self, hour: int, taxis: _Cars) -> tuple[IntArray, RoadTrajectories, Tally]:
        """Run SUMO for an hour; return the taxis that arrived."""
        traffic = self.traffic
        others = self._others(hour)
        folder = self.work / f"hour-{hour:02d}"
        folder.mkdir(exist_ok=True)
        self._write_routes(folder / "routes.rou.xml", taxis, others)
        last = 3600 * (hour + 1) + traffic.after_s
        command = (
            f"sumo -n ../city.net.xml -r routes.rou.xml {_SETTINGS} --seed {self.city.seed + 1} "
            f"--begin {3600 * hour - traffic.warm_s} --end {last} --max-depart-delay 900 "
            f"--time-to-teleport {traffic.teleport_s} --fcd-output fcd.parquet "
            "--tripinfo-output tripinfo.xml --statistic-output statistic.xml"
        )
        told = run_program(command.split(), folder)
        lifted = np.unique(_lifted(told, _TAXI))
        arrived = _arrived(folder / "tripinfo.xml")
        ids, first, lane, metres, time = self._fixes(folder / "fcd.parquet")
        good = np.isin(ids, arrived) & ~np.isin(ids, lifted)
        what = Tally(
            waiting=len(taxis.trip_id) - len(ids),
            unfinished=int((~np.isin(ids, arrived)).sum()),
            teleported=int(np.isin(ids, lifted).sum()),
            cars=len(others.trip_id),
            cars_teleported=len(_lifted(told, "b")),
        )
        count = np.diff(first)
        fewest, most = self.city.world.points
        fits = (count >= fewest) & (count <= most)
        what += Tally(other_lengths=int((good & ~fits).sum()))
        rows = np.flatnonzero(good & fits)
        first, of = taken(first, rows)
        segment, along = on_segments(self.lanes, lane[of], metres[of], self.city.roads)
        driven = taxis.take(np.searchsorted(taxis.trip_id, ids[rows]))
        made = RoadTrajectories(
            first,
            segment,
            (along / self.city.roads.line_m[segment]).astype(np.float32),
            np.zeros(len(segment), dtype=np.float32),
            time[of],
            driven.first,
            driven.route,
        )
        return ids[rows], made, what

    def _write_routes(self, path: Path, taxis: _Cars, others: _Cars) -> None:
        """Write all cars in the order of departure; taxis stand when they begin."""
        name = np.concatenate(
            [np.full(len(taxis.trip_id), _TAXI), np.full(len(others.depart), "b")]
        )
        depart = np.concatenate([taxis.depart, others.depart])
        both = [(taxis, row) for row in range(len(taxis.depart))]
        both += [(others, row) for row in range(len(others.depart))]
        with path.open("w") as file:
            file.write("<routes>\n")
            wish = f"normc({self.traffic.speed},0.1,0.5,1.5)"
            file.write(f'<vType id="car" speedFactor="{wish}" {_DRIVER}/>\n')
            for at in np.argsort(depart, kind="stable").tolist():
                cars, row = both[at]
                file.write(self._vehicle(str(name[at]), cars, row))
            file.write("</routes>\n")

    def _vehicle(self, kind: str, cars: _Cars, row: int) -> str:
        route = cars.route[cars.first[row] : cars.first[row + 1]]
        begin, end = 0.8 * cars.ends[row, 0], 0.2 + 0.8 * cars.ends[row, 1]
        set_off, arrive = self._lane_m[route[0]] * begin, self._lane_m[route[-1]] * end
        edges = " ".join(f"{EDGE}{segment}" for segment in route.tolist())
        seen = "".join(
            f'<param key="has.{device}.device" value="true"/>' for device in ("fcd", "tripinfo")
        )
        return (
            f'<vehicle id="{kind}{cars.trip_id[row]}" type="car" depart="{cars.depart[row]:.0f}" '
            f'departLane="best" departPos="{set_off:.2f}" arrivalPos="{arrive:.2f}" '
            f'departSpeed="0"><route edges="{edges}"/>{seen if kind == _TAXI else ""}</vehicle>\n'
        )

    def _fixes(self, path: Path) -> tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]:
        """Return taxis' ids, and lane, metres and time of each at every interval from its begin."""
        parts: list[tuple[IntArray, IntArray, FloatArray, FloatArray]] = []
        for one in pq.ParquetFile(path).iter_batches():
            batch = one.filter(one.column("id").is_valid())  # a second without taxis
            car, lane = batch.column("id"), batch.column("lane")
            names = lane.dictionary_encode()
            row = np.array([self.lanes.row[n] for n in names.dictionary.to_pylist()], np.int64)
            parts.append(
                (
                    np.char.lstrip(car.to_numpy(zero_copy_only=False).astype(str), _TAXI).astype(
                        np.int64
                    ),
                    row[names.indices.to_numpy()],
                    batch.column("pos").cast(pa.float64()).to_numpy(),
                    batch.column("time").cast(pa.float64()).to_numpy(),
                )
            )
        car, lane, metres, time = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((time, car))
        ids, at = np.unique(car[order], return_index=True)
        since = time[order] - np.repeat(time[order][at], np.diff(np.append(at, len(order))))
        keep = order[since % self.city.world.interval_s == 0]
        first = np.concatenate([[0], np.cumsum(np.bincount(np.searchsorted(ids, car[keep])))])
        return ids, first.astype(np.int64), lane[keep], metres[keep], time[keep]


def _moved(cars: _Cars, depart: FloatArray) -> _Cars:
    return _Cars(cars.trip_id, cars.first, cars.route, depart, cars.ends)


def _lifted(told: str, kind: str) -> IntArray:
    """Return the ids of cars of a kind that SUMO says it teleported."""
    begin = f"Teleporting vehicle '{kind}"
    found = [line.split(begin, 1)[1].split("'")[0] for line in told.splitlines() if begin in line]
    return np.array(found, dtype=np.int64)


def _arrived(path: Path) -> IntArray:
    """Return the ids of the taxis that arrived, in order."""
    found: list[int] = []
    for _, element in ElementTree.iterparse(path):
        if element.tag == "tripinfo":
            found.append(int(element.attrib["id"].removeprefix(_TAXI)))
            element.clear()
    return np.sort(np.array(found, dtype=np.int64))


def with_gps(city: TaxiCity, ids: IntArray, truth: RoadTrajectories, lost: int) -> SimulatedTrips:
    """Return trips with what the GPS says of where the cars were."""
    error = city.world.noise_m * point_noise(city.seed, ids, truth.length)
    return SimulatedTrips(
        ids, truth, Traces(truth.first, truth.points(city.roads) + error, truth.time), lost
    )


def kept_trips(
    city: TaxiCity, traffic: Traffic, trip_id: IntArray, folder: Path
) -> tuple[SimulatedTrips, str]:
    """Return the trips of ``SumoCity.simulate``, and their tally in a line, from a file.

    The file's name tells graph, world, traffic, seed and ids; where it is not there SUMO makes it.

    Raises
    ------
    DataError
        As ``SumoCity``, or if the file is not readable.
    """
    digest = hashlib.sha256(repr((city.world, traffic, city.seed, _SETTINGS, _DRIVER)).encode())
    for array in (city.roads.xy, city.roads.network.speed_kph, city.roads.network.lanes, trip_id):
        digest.update(np.ascontiguousarray(array).tobytes())
    path = folder / f"{digest.hexdigest()[:16]}.parquet"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made, told = SumoCity(city, traffic).simulate(trip_id)
        write_trajectories(made.truth, path.with_suffix(".part"))
        table = pq.read_table(path.with_suffix(".part"))
        table = table.append_column("trip_id", pa.array(made.trip_id))
        pq.write_table(table.replace_schema_metadata({"told": str(told)}), path)
        path.with_suffix(".part").unlink()
    truth = read_trajectories(path, city.roads)
    table = pq.read_table(path, columns=["trip_id"])
    ids = table.column("trip_id").to_numpy()
    told = (table.schema.metadata or {}).get(b"told", b"").decode()
    return with_gps(city, ids, truth, len(trip_id) - len(ids)), told
