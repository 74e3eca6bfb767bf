"""The panels of a population's picture, each on one pair of axes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.collections import LineCollection

from assignment.reference import load_reference
from raygen.city import City
from raygen.city_files.projection import to_metres
from raygen.shards import Columns, columns, follows, key, rows, whole
from raygen.taxonomy import ACTIVITY_TYPES, HOME, MODES, SCHOOL, SLOT_S, SLOTS, WORK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_COLOURS = (
    "#4c78a8", "#f58518", "#e45756", "#b279a2", "#54a24b", "#88d27a", "#eeca3b", "#9d755d",
    "#ff9da6", "#72b7b2", "#d67195", "#bab0ac", "#79706e", "#d8b5a5", "#439894",
)  # fmt: skip
_TRAVEL = "#222222"
_MODE_COLOURS = ("#4c78a8", "#9ecae9", "#f58518", "#54a24b", "#e45756")

_FLOWS = 250  # lines of the map
_SQUARES = 20  # along the city's longer side
_LEAST_COMMUTERS = 15  # of a dot: the mean's standard error is then about 4 minutes
_FRAMED, _MARGIN_KM = 0.995, 2.0  # share of homes inside each side of a map
_KM_EDGES = np.geomspace(0.1, 100.0, 31)


@dataclass(frozen=True)
class Sample:
    """Shards of a population as arrays, with points in projected metres."""

    city: City
    persons: Columns
    activities: Columns
    trips: Columns
    activity_xy: FloatArray
    """(A, 2)."""
    home_xy: FloatArray
    """(H, 2), one for each household."""
    arrival: Int64Array
    """(T,) row of the activity that each trip leads to."""

    @classmethod
    def of(cls, tables: dict[str, pa.Table], city: City) -> "Sample":
        """Return the tables as a sample of the city."""
        arrays = {name: columns(table) for name, table in tables.items()}
        activities, households = arrays["activities"], arrays["households"]
        keys = [key(arrays[name]) for name in ("activities", "trips")]
        return cls(
            city=city,
            persons=arrays["persons"],
            activities=activities,
            trips=arrays["trips"],
            activity_xy=_metres(city, activities["lon"], activities["lat"]),
            home_xy=_metres(city, households["home_lon"], households["home_lat"]),
            arrival=rows(*keys),
        )


def activity_profile(axes: "Axes", sample: Sample) -> None:
    """Draw the share of persons at each activity type, every 15 minutes of the first day."""
    share = profile(sample.activities, len(sample.persons["person_id"]))
    hours = (np.arange(SLOTS) + 0.5) * SLOT_S / 3600
    labels = [*ACTIVITY_TYPES, "travelling"]
    axes.stackplot(hours, share.T, labels=labels, colors=[*_COLOURS, _TRAVEL], linewidth=0)
    axes.set(xlim=(0, 24), ylim=(0, 1), xticks=range(0, 25, 3), xlabel="hour of the day")
    axes.set(ylabel="share of persons", title="Activity over the day")
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def profile(activities: Columns, persons: int) -> FloatArray:
    """Return shares by type and, last, of travellers at the middle of each slot, shape (96, 16)."""
    count = np.zeros((SLOTS + 1, len(ACTIVITY_TYPES)))
    kind = whole(activities["type"])
    # A slot counts where its middle is in [start, end).
    slots = [
        np.clip(np.ceil((whole(activities[name]) - SLOT_S / 2) / SLOT_S), 0, SLOTS).astype(int)
        for name in ("start_s", "end_s")
    ]
    np.add.at(count, (slots[0], kind), 1.0)
    np.add.at(count, (slots[1], kind), -1.0)
    share = np.cumsum(count, axis=0)[:SLOTS] / persons
    return np.column_stack([share, np.maximum(1.0 - share.sum(axis=1), 0.0)])


def trip_lengths(axes: "Axes", sample: Sample) -> None:
    """Draw crow-fly trip lengths to optional activities beside the distribution sampled from."""
    kind = whole(sample.trips["purpose"])
    km = _crow_km(sample)
    optional = ~np.isin(kind, (HOME, WORK, SCHOOL))
    quantiles = load_reference().distance_m.astype(np.float64) / 1000.0
    mix = np.bincount(kind[optional], minlength=len(quantiles))
    wanted = sum(
        (_density(quantiles[t]) * mix[t] for t in np.flatnonzero(mix)), np.zeros(len(_KM_EDGES) - 1)
    )
    axes.stairs(_density(km[optional]), _KM_EDGES, label="generated, optional", color="#e45756")
    axes.stairs(
        wanted / max(mix.sum(), 1), _KM_EDGES, label="reference, optional", color="#222222", ls="--"
    )
    for name, code, colour in (("work", WORK, "#f58518"), ("school", SCHOOL, "#54a24b")):
        axes.stairs(_density(km[kind == code]), _KM_EDGES, label=f"generated, {name}", color=colour)
    axes.set(xscale="log", xlabel="crow-fly distance, km", ylabel="share of trips per bin")
    axes.set_title("Trip length by purpose")
    axes.legend(fontsize=9)


def homes_and_jobs(axes: "Axes", sample: Sample) -> None:
    """Draw homes, and the places where people work."""
    size = float(np.clip(4e4 / max(len(sample.home_xy), 1), 0.2, 6.0))
    work = whole(sample.activities["type"]) == WORK
    axes.scatter(*_km(sample.home_xy), s=size, color="#4c78a8", alpha=0.6, lw=0, label="homes")
    axes.scatter(
        *_km(sample.activity_xy[work]),
        s=size / 2,
        color="#f58518",
        alpha=0.4,
        lw=0,
        label="work places",
    )
    _map(axes, sample, "Homes and work places")
    axes.legend(fontsize=9, markerscale=4 / size**0.5, loc="lower left")


def flows(axes: "Axes", sample: Sample) -> None:
    """Draw the largest flows of trips between squares of a grid over the city."""
    city = sample.city
    side = float(np.ptp(city.zone_xy, axis=0).max()) / _SQUARES + 1.0
    cell = ((city.zone_xy - city.zone_xy.min(axis=0)) // side).astype(np.int64)
    _, square = np.unique(cell[:, 0] * (_SQUARES + 1) + cell[:, 1], return_inverse=True)
    count = int(square.max()) + 1
    origin = square[rows(city.zone_id, sample.trips["origin_zone_id"])]
    to = square[rows(city.zone_id, sample.trips["destination_zone_id"])]
    matrix = np.bincount(origin * count + to, minlength=count * count).reshape(count, count)
    pairs, trips = _largest(matrix)
    lines = LineCollection(
        list(_centres(city, square)[pairs] / 1000.0),
        linewidths=0.3 + 5.7 * trips / max(int(trips.max(initial=1)), 1),
        colors="#e45756",
        alpha=0.45,
    )
    axes.scatter(*_km(city.zone_xy), s=2, color="#bbbbbb", lw=0)
    axes.add_collection(lines)
    for name, centre in zip(
        city.subregion_names, _centres(city, city.subregion.astype(np.int64)) / 1000.0, strict=True
    ):
        axes.annotate(name, tuple(centre), fontsize=8, ha="center", color="#333333")
    inside = float(np.trace(matrix)) / max(int(matrix.sum()), 1)
    title = f"Largest flows between squares of {side / 1000:.1f} km ({inside:.0%} stay inside)"
    _map(axes, sample, title)


def _largest(matrix: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the pairs (F, 2) with most trips in both directions, and their trips (F,)."""
    both = np.triu(matrix + matrix.T, k=1)
    largest = np.argsort(both, axis=None, kind="stable")[::-1][:_FLOWS]
    pairs = np.column_stack(np.unravel_index(largest, both.shape))
    trips = both[pairs[:, 0], pairs[:, 1]]
    return pairs[trips > 0], trips[trips > 0]


def _centres(city: City, group: Int64Array) -> FloatArray:
    """Return the mean point of each group of zones, weighted by population, (G, 2) metres."""
    weight = city.population + 1e-9  # a group without people has its zones' plain mean
    total = np.bincount(group, weights=weight)
    sums = [np.bincount(group, weights=weight * city.zone_xy[:, axis]) for axis in (0, 1)]
    return np.column_stack(sums) / total[:, None]


def commute_times(axes: "Axes", sample: Sample) -> None:
    """Draw mean commute times by home area beside the observed ones."""
    minutes, zone = _commutes(sample)
    target = sample.city.commute_target_s / 60.0
    # Zones of one area share the observed figure; their commuters count together.
    known = np.isfinite(target[zone])
    minutes, zone = minutes[known], zone[known]
    area = sample.city.subregion.astype(np.int64)[zone] * 100_000
    area += np.round(target[zone] * 100).astype(np.int64)
    _, first, group = np.unique(area, return_index=True, return_inverse=True)
    count = np.bincount(group)
    mean = np.bincount(group, weights=minutes) / np.maximum(count, 1)
    shown = count >= _LEAST_COMMUTERS
    x, y = target[zone[first]][shown], mean[shown]
    axes.scatter(x, y, s=np.sqrt(count[shown]) * 4, color="#4c78a8", alpha=0.6, lw=0)
    top = float(max(x.max(initial=10), y.max(initial=10))) * 1.05
    axes.plot([0, top], [0, top], color="#222222", lw=1, ls="--")
    _note(axes, x, y, count[shown])
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="observed mean commute, min")
    axes.set(ylabel="generated mean commute, min", title="Commute time by home area")


def departures(axes: "Axes", sample: Sample) -> None:
    """Draw trips by hour of departure and mode."""
    hour = whole(sample.trips["depart_s"]) // 3600 % 24
    mode = whole(sample.trips["mode"])
    bottom = np.zeros(24)
    for code, (name, colour) in enumerate(zip(MODES, _MODE_COLOURS, strict=True)):
        count = np.bincount(hour[mode == code], minlength=24) / max(len(hour), 1)
        label = f"{name} {(mode == code).mean() if len(mode) else 0:.0%}"
        axes.bar(np.arange(24) + 0.5, count, bottom=bottom, color=colour, width=0.95, label=label)
        bottom += count
    axes.set(xlim=(0, 24), xticks=range(0, 25, 3), xlabel="hour of departure")
    axes.set(ylabel="share of trips", title="Trips by hour and mode")
    axes.legend(fontsize=9)


def _commutes(sample: Sample) -> tuple[FloatArray, Int64Array]:
    """Return minutes of the trips from home to work, and the zone row of their homes."""
    kind = whole(sample.activities["type"])
    after_home = follows(sample.activities, "person_id", "day")
    after_home[1:] &= kind[:-1] == HOME
    direct = (whole(sample.trips["purpose"]) == WORK) & after_home[sample.arrival]
    seconds = whole(sample.trips["arrive_s"]) - whole(sample.trips["depart_s"])
    zone = rows(sample.city.zone_id, sample.trips["origin_zone_id"])
    return seconds[direct] / 60.0, zone[direct]


def _note(
    axes: "Axes", x: npt.NDArray[np.floating], y: npt.NDArray[np.floating], weight: Int64Array
) -> None:
    """Write the weighted mean error and correlation into the panel."""
    if len(x) < 3:  # noqa: PLR2004 - a correlation of two dots says nothing
        return
    error = float(np.average(y - x, weights=weight))
    covariance = np.cov(np.stack([x, y]), aweights=weight)
    scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
    text = f"{len(x)} areas, mean error {error:+.1f} min"
    text += f", correlation {covariance[0, 1] / scale:.2f}" if scale else ""
    axes.text(0.03, 0.95, text, transform=axes.transAxes, va="top")


def _density(km: FloatArray) -> FloatArray:
    count = np.histogram(np.clip(km, _KM_EDGES[0], _KM_EDGES[-1]), bins=_KM_EDGES)[0]
    return count / max(len(km), 1)


def _crow_km(sample: Sample) -> FloatArray:
    """Return the straight length of each trip between its activities' points."""
    step = sample.activity_xy[sample.arrival] - sample.activity_xy[sample.arrival - 1]
    return np.hypot(step[:, 0], step[:, 1]) / 1000.0


def _metres(city: City, lon: npt.NDArray[np.generic], lat: npt.NDArray[np.generic]) -> FloatArray:
    return to_metres(np.column_stack([lon, lat]).astype(np.float64), city.crs)


def _km(xy: FloatArray) -> tuple[FloatArray, FloatArray]:
    return xy[:, 0] / 1000.0, xy[:, 1] / 1000.0


def _map(axes: "Axes", sample: Sample, title: str) -> None:
    """Frame where nearly all homes are: a far island must not shrink the city."""
    west, south = np.quantile(sample.home_xy, 1 - _FRAMED, axis=0) / 1000.0
    east, north = np.quantile(sample.home_xy, _FRAMED, axis=0) / 1000.0
    axes.set(xlim=(west - _MARGIN_KM, east + _MARGIN_KM))
    axes.set(ylim=(south - _MARGIN_KM, north + _MARGIN_KM))
    axes.set_aspect("equal")
    axes.set(xlabel="easting, km", ylabel="northing, km", title=title)
