"""Routes by SUMO's duarouter on a network of ours, for tests/bench/routing.py.

The network goes as plain XML through netconvert, trips between junctions as XML, and duarouter
runs by A*. All are subprocesses; binaries are found on the PATH (``pip install eclipse-sumo``).
"""

import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from raygen.network.graph import RoadNetwork

CONVERT = (
    "--no-turnarounds.except-deadend false --no-internal-links true --no-warnings true "
    "--offset.disable-normalization true --junctions.join false"
)


def available() -> bool:
    """Return whether netconvert and duarouter are on the PATH."""
    return all(shutil.which(name) for name in ("netconvert", "duarouter"))


def duarouter_rate(roads: RoadNetwork, pairs: np.ndarray) -> tuple[float, int]:
    """Return routes a CPU-second, and how many of the trips got one.

    Reading the network is taken off: it is the time of a run of a single trip.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_plain(folder, roads)
        _run(f"netconvert -n nodes.xml -e edges.xml -o net.xml {CONVERT}", folder)
        few = _route(folder, pairs[:1])[0]
        spent, routed = _route(folder, pairs)
    return (len(pairs) - 1) / (spent - few), routed


def _write_plain(folder: Path, roads: RoadNetwork) -> None:
    """Write nodes and edges; metres about the middle, to keep SUMO from projecting."""
    shrink = np.cos(np.radians(roads.lat.mean()))
    x = (roads.lon - roads.lon.mean()) * 111_320 * shrink
    y = (roads.lat - roads.lat.mean()) * 111_320
    with (folder / "nodes.xml").open("w") as file:
        file.write("<nodes>")
        for row, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            file.write(f'<node id="{row}" x="{a:.2f}" y="{b:.2f}" type="priority"/>')
        file.write("</nodes>")
    columns = (roads.tail, roads.head, roads.length_m, roads.speed_kph / 3.6)
    with (folder / "edges.xml").open("w") as file:
        file.write("<edges>")
        for row, (u, v, metres, speed) in enumerate(
            zip(*(c.tolist() for c in columns), strict=True)
        ):
            file.write(
                f'<edge id="e{row}" from="{u}" to="{v}" numLanes="1" '
                f'length="{max(metres, 0.1):.2f}" speed="{speed:.3f}"/>'
            )
        file.write("</edges>")


def _route(folder: Path, pairs: np.ndarray) -> tuple[float, int]:
    """Return CPU seconds of routing some trips between junctions, and routes found."""
    with (folder / "trips.xml").open("w") as file:
        file.write("<routes>")
        for row, (a, b) in enumerate(pairs.tolist()):
            ends = f"fromJunction={quoteattr(str(a))} toJunction={quoteattr(str(b))}"
            file.write(f'<trip id="{row}" depart="0" {ends}/>')
        file.write("</routes>")
    command = (
        "duarouter -n net.xml --route-files trips.xml -o out.xml --routing-algorithm astar "
        "--junction-taz true --ignore-errors true --no-warnings true"
    )
    spent = _run(command, folder)
    return spent, (folder / "out.xml").read_text().count("<vehicle ")


def _run(command: str, folder: Path) -> float:
    """Return the CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
