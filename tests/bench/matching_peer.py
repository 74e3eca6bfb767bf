"""Map matching by fastmm, for tests/bench/matching.py; runs in an environment of its own.

    python tests/bench/matching_peer.py WORK.json OUT.json

WORK has ``edges`` (tail, head, [[x, y], …]), ``traces`` ([[x, y, t], …]) and the settings. OUT gets
the CPU seconds of matching alone and the edge of each point, -1 where there is none.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import fastmm


def main():
    """Match and write."""
    work = json.loads(Path(sys.argv[1]).read_text())
    network = fastmm.Network()
    for number, (tail, head, line) in enumerate(work["edges"]):
        network.add_edge(number, source=tail, target=head, geom=[tuple(point) for point in line])
    network.finalize()
    with tempfile.TemporaryDirectory() as cache:
        matcher = fastmm.FastMapMatch(
            network,
            fastmm.TransitionMode.SHORTEST,
            max_distance_between_candidates=work["reach_m"],
            cache_dir=cache,
        )
        traces = [
            fastmm.Trajectory.from_xyt_tuples([tuple(point) for point in trace])
            for trace in work["traces"]
        ]
        begin = time.process_time()
        told = [
            matcher.match(
                trace,
                max_candidates=work["candidates"],
                candidate_search_radius=work["radius_m"],
                gps_error=work["sigma_m"],
                reverse_tolerance=work["backward_m"],
            )
            for trace in traces
        ]
        spent = time.process_time() - begin
    found = [edges_of(one, len(trace)) for one, trace in zip(told, work["traces"], strict=True)]
    Path(sys.argv[2]).write_text(json.dumps({"cpu_s": spent, "edges": found}))


def edges_of(result, count):
    """Return the edge of each point of a trace."""
    edges = [-1] * count
    for part in result.subtrajectories:
        if part.error_code != fastmm.MatchErrorCode.SUCCESS:
            continue
        for step in part.segments:
            # Indices count from 0, whatever its documentation says.
            edges[step.p0.trajectory_index] = step.edges[0].edge_id
            edges[step.p1.trajectory_index] = step.edges[-1].edge_id
    return edges


if __name__ == "__main__":
    main()
