"""Measure map matching on simulated taxi trips, and on Porto's observed ones.

    python tests/bench/matching.py [PYTHON_WITH_FASTMM]

Writes docs/results/matching.json and .md and a map. CPU seconds of one thread. fastmm is measured
side by side where a Python that has it is named.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

# This file's own folder would hide modules of the same name.
sys.path[0] = str(Path(__file__).parents[1])
from raygen.matching.match import Matched, Matcher, Settings  # noqa: E402
from raygen.matching.pieces import match_pieces  # noqa: E402
from raygen.network.read import read_roads  # noqa: E402
from raygen.results import Results, Row  # noqa: E402
from raygen.trajectories.plane import PlaneRoads, plane_roads  # noqa: E402
from raygen.trajectories.porto import POINTS, read_porto  # noqa: E402
from raygen.trajectories.records import RoadTrajectories, Traces, taken  # noqa: E402
from training.simulated_trips import SimulatedTrips, TaxiCity, TaxiWorld, point_noise  # noqa: E402

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
TRIPS = 400
NOISE = {8.0: 0.95, 20.0: 0.85}
"""Standard deviation along each axis in metres, and the share of points asked for."""


def settings_for(noise: float) -> Settings:
    """Return the settings for a known noise."""
    return Settings(sigma_m=noise, beta_m=30.0, radius_m=4 * noise + 20)


def noisy(trips: SimulatedTrips, roads: PlaneRoads, noise: float) -> Traces:
    """Return the true places with a noise of one's own choice."""
    error = noise * point_noise(1, trips.trip_id, trips.truth.length)
    return replace(trips.traces, xy=trips.truth.points(roads) + error)


def right(told: Matched, truth: RoadTrajectories) -> float:
    """Return the share of all points that are on their true segment; those of lost traces are not."""
    same = told.trajectories.segment == truth.take(told.rows).segment
    return float(same.sum() / len(truth.segment))


def nearest_of_route(trips: SimulatedTrips, roads: PlaneRoads, traces: Traces) -> float:
    """Return how many points' nearest segment of their TRUE route is their true segment.

    What a matcher gets that knows the way driven, and errs only where a point is past a junction.
    """
    import shapely

    truth = trips.truth
    lines, points = roads.lines(), shapely.points(traces.xy)
    low = np.repeat(truth.route_first[:-1], truth.length)
    high = np.repeat(truth.route_first[1:] - 1, truth.length)
    at = low + truth.steps()
    best, found = np.full(len(points), np.inf), np.full(len(points), -1)
    for step in range(-4, 5):
        segment = truth.route[np.clip(at + step, low, high)]
        far = shapely.distance(points, lines[segment])
        found = np.where(far < best, segment, found)
        best = np.minimum(best, far)
    return float((found == truth.segment).mean())


def route_shares(told: Matched, truth: RoadTrajectories, roads: PlaneRoads) -> tuple[float, float]:
    """Return recall and precision of the driven metres, segments counted once a trip."""
    both = mine = true = 0.0
    known = truth.take(told.rows)
    for row in range(len(known)):
        a = set(known.route[known.route_first[row] : known.route_first[row + 1]].tolist())
        made = told.trajectories
        b = set(made.route[made.route_first[row] : made.route_first[row + 1]].tolist())
        true += roads.line_m[list(a)].sum()
        mine += roads.line_m[list(b)].sum()
        both += roads.line_m[list(a & b)].sum()
    return both / true, both / mine


def peer(python: str, roads: PlaneRoads, traces: Traces, s: Settings) -> tuple[float, np.ndarray]:
    """Return fastmm's CPU seconds, and its segment of each point."""
    network = roads.network
    edges = [
        [int(network.tail[e]), int(network.head[e]), roads.line(e).tolist()]
        for e in range(roads.segments)
    ]
    xyt = np.column_stack([traces.xy, traces.time])
    work = {
        "edges": edges,
        "traces": [part.tolist() for part in np.split(xyt, traces.first[1:-1])],
        "reach_m": 1000.0,
        "candidates": s.candidates,
        "radius_m": s.radius_m,
        "sigma_m": s.sigma_m,
        "backward_m": s.backward_sigmas * s.sigma_m,
    }
    with tempfile.TemporaryDirectory() as folder:
        into, out = Path(folder) / "work.json", Path(folder) / "out.json"
        into.write_text(json.dumps(work))
        script = Path(__file__).with_name("matching_peer.py")
        subprocess.run([python, str(script), str(into), str(out)], check=True)
        told = json.loads(out.read_text())
    return told["cpu_s"], np.concatenate(told["edges"])


def simulated_rows(name: str, roads: PlaneRoads, python: str | None) -> list[Row]:
    """Return the rows of one graph's simulated trips."""
    world = TaxiWorld(distance_m=3000.0 if name == "la_basin" else TaxiWorld().distance_m)
    trips = TaxiCity(roads, world, 0).simulate(np.arange(TRIPS))
    n, rows = len(trips.trip_id), list[Row]()
    matcher = Matcher(roads)
    matcher.match(trips.traces.take(np.arange(2)))  # compiles
    for noise, target in NOISE.items():
        traces, case = noisy(trips, roads, noise), f"{name}, {noise:g} m"
        matcher.settings = settings_for(noise)
        begin = time.process_time()
        told = matcher.match(traces)
        rate = len(traces.xy) / (time.process_time() - begin)
        other: dict[str, float | str] = {}
        if python:
            spent, edges = peer(python, roads, traces, matcher.settings)
            other = {
                "baseline_name": "fastmm",
                "baseline": float((edges == trips.truth.segment).mean()),
            }
            speed = {"baseline_name": "fastmm", "baseline": len(traces.xy) / spent}
        else:
            speed = {}
        recall, precision = route_shares(told, trips.truth, roads)
        bound = nearest_of_route(trips, roads, traces)
        rows += [
            Row(case=case, metric="points_on_true_segment", value=right(told, trips.truth), n=n,
                floor=bound, target=target, **other),
            Row(case=case, metric="traces_matched", value=float((told.status == 0).mean()), n=n),
            Row(case=case, metric="route_recall", value=recall, n=n),
            Row(case=case, metric="route_precision", value=precision, n=n),
            Row(case=case, metric="points_per_cpu_s", value=rate, n=n, **speed),
        ]  # fmt: skip
        sys.stdout.write(
            f"{case}: {[(r.metric, r.value, r.floor, r.baseline) for r in rows[-5:]]}\n"
        )
    return rows


def porto_rows(roads: PlaneRoads) -> list[Row]:
    """Return the rows of the observed trips, and draw them."""
    trips = read_porto(DATA / "porto" / "train_1000.csv", roads)
    told = match_pieces(Matcher(roads, Settings(sigma_m=5.0, beta_m=30.0)), trips.traces, POINTS[0])
    whole, n = told.whole, len(trips.traces)
    gap = np.abs(told.trajectories.offset)
    draw(roads, trips.traces, whole, ROOT / "docs" / "results" / "matching-porto.png")
    sys.stdout.write(f"{whole}\n")
    figures = {
        "trips_matched_whole": float((whole.status == 0).mean()),
        "points_in_stretches_of_20_or_more": len(told.traces.xy) / len(trips.traces.xy),
        "median_m_to_road": float(np.median(gap)),
        "points_within_20_m_of_road": float((gap <= 20).mean()),
    }
    return [Row(case="Porto, observed", metric=k, value=v, n=n) for k, v in figures.items()]


def draw(roads: PlaneRoads, traces: Traces, told: Matched, path: Path) -> None:
    """Draw matched routes over the roads, where traces broke, and one trip near by."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.collections import LineCollection

    figure, axes = plt.subplots(2, 1, figsize=(11, 11), layout="constrained")
    lines = [roads.line(e) for e in range(roads.segments)]
    made = told.trajectories
    driven = np.unique(made.route)
    row = int(np.argsort(np.abs(made.length - 45))[0])
    for axis in axes:
        axis.add_collection(LineCollection(lines, colors="0.8", linewidths=0.5))
        axis.set_aspect("equal")
        axis.axis("off")
    axes[0].add_collection(
        LineCollection([lines[e] for e in driven], colors="#1f6fb4", linewidths=1)
    )
    broken = np.flatnonzero((told.status == 1) | (told.status == 2))
    at = traces.xy[traces.first[broken] + told.where[broken]]
    axes[0].plot(*at.T, "x", color="#c1272d", markersize=5)
    axes[0].set(
        xlim=(roads.xy[:, 0].min(), roads.xy[:, 0].max()),
        ylim=(roads.xy[:, 1].min(), roads.xy[:, 1].max()),
    )
    axes[0].set_title(
        f"Porto, observed; blue: segments driven, crosses: where traces broke\n{told}"
    )
    one = made.take(np.array([row]))
    raw = traces.take(told.rows[[row]]).xy
    _, rows = taken(made.first, np.array([row]))
    on = replace(one, offset=np.zeros_like(one.offset)).points(roads)
    axes[1].add_collection(
        LineCollection([lines[e] for e in one.route], colors="#1f6fb4", linewidths=2)
    )
    axes[1].plot(
        *np.stack([raw, on], axis=1).reshape(-1, 2, 2).transpose(2, 1, 0),
        color="0.3",
        linewidth=0.8,
    )
    axes[1].plot(*raw.T, "o", color="#c1272d", markersize=3)
    axes[1].set(
        xlim=(raw[:, 0].min() - 100, raw[:, 0].max() + 100),
        ylim=(raw[:, 1].min() - 100, raw[:, 1].max() + 100),
    )
    axes[1].set_title(
        f"A trip of {len(rows)} points: route (blue), points (red), their places on the roads"
    )
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """Measure and write the results."""
    python = sys.argv[1] if len(sys.argv) > 1 else None
    porto = plane_roads(read_roads(DATA / "porto" / "roads.csv")[0])
    la = plane_roads(read_roads(DATA / "la_basin")[0])
    rows = porto_rows(porto)
    for name, roads in (("porto", porto), ("la_basin", la)):
        rows += simulated_rows(name, roads, python)
    notes = [
        "Simulated: a point every 15 s, noise along each axis; both directions of a street count as "
        "different; points of traces that could not be matched count as wrong.",
        "Floor of points_on_true_segment: what a matcher gets that is told the route and takes its "
        "nearest segment. Cars stand at junctions, and the GPS puts many behind them: on Porto's "
        "segments (median 60 m) this leaves less than both targets, which are missed there; the "
        "route itself is found (route_recall, route_precision). On la_basin both are met.",
        "fastmm: same candidates, radius and noise, 1 km of reach, reading excluded.",
        "Porto, observed: what breaks leaves the roads that the set has, or drives ways that its "
        "one-way rules do not allow; see the map (matching-porto.png).",
    ]
    data = "data/porto (observed), data/la_basin (observed network), simulated trips (synthesised)"
    Results("matching", "python tests/bench/matching.py", data, rows, notes).write(
        ROOT / "docs" / "results" / "matching.json"
    )


if __name__ == "__main__":
    main()
