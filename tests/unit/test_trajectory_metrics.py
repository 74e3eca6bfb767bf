"""The eight measures of HTP on cases worked out by hand."""

import numpy as np
import pytest
from gridroads import grid

from raygen.errors import DataError
from raygen.trajectories.plane import plane_roads
from raygen.trajectory_metrics import (
    IDEAL,
    METRICS,
    Measured,
    card,
    collapsed,
    density,
    divergence,
    grid_cells,
    haversine,
    measured,
    pattern,
    pooled_edges,
    radii,
    scores,
    step_lengths,
)

DEGREE_M = np.pi * 6_371_000 / 180


def test_haversine_of_a_degree():
    a, b = np.array([[0.0, 0.0], [10.0, 60.0]]), np.array([[0.0, 1.0], [11.0, 60.0]])
    assert haversine(a, b) == pytest.approx([DEGREE_M, DEGREE_M / 2], rel=1e-4)


def test_steps_begin_anew_in_each_trajectory():
    line = np.array([[0, 0], [0, 1], [0, 3], [5, 5], [5, 6]], dtype=float)
    step, has = step_lengths(np.array([0, 3, 5]), line)
    assert step == pytest.approx(DEGREE_M * np.array([0, 1, 2, 0, 1]))
    assert has.tolist() == [False, True, True, False, True]


def test_radius_is_a_mean_in_the_released_code_and_a_root_mean_square_in_the_paper():
    line = np.array([[0, 0], [0, 0], [0, 3]], dtype=float)  # centre (0, 1): distances 1, 1, 2
    first = np.array([0, 3])
    assert radii(first, line, square=False) == pytest.approx(DEGREE_M * 4 / 3)
    assert radii(first, line, square=True) == pytest.approx(DEGREE_M * np.sqrt(2))


@pytest.mark.parametrize(
    ("n", "edges"), [(4, 5), (8, 5), (16, 5), (32, 6), (2000, 11), (2**21, 22)]
)
def test_number_of_edges_grows_with_the_sample(n, edges):
    values = np.linspace(0, 1, n // 2)
    found = pooled_edges(values, values)
    assert len(found) == edges
    assert found[0] == pytest.approx(-1e-6)
    assert found[-1] == pytest.approx(1 + 1e-6)


def test_divergence_of_hand_worked_cases():
    edges = np.array([0.0, 1.0, 2.0])
    low, high = np.full(4, 0.5), np.full(4, 1.5)
    assert divergence(low, low, edges) == 0
    assert divergence(low, high, edges) == pytest.approx(1, abs=1e-8)
    # p = (1, 0), g = (1/2, 1/2): m = (3/4, 1/4).
    half = np.array([0.5, 1.5])
    wanted = (np.log2(4 / 3) + (np.log2(2 / 3) + np.log2(2)) / 2) / 2
    assert divergence(low, half, edges) == pytest.approx(wanted, abs=1e-7)
    assert divergence(half, low, edges) == pytest.approx(wanted, abs=1e-7)


def test_cells_count_strictly_inside_the_box():
    # 1.2 by 1.2 km at the equator: 10.8 cells fit, so 10 of 120 m.
    side = 1085 / DEGREE_M
    box = (0.0, 0.0, side, side)
    points = np.array([[0.01, 0.01], [0.99, 0.01], [0.01, 0.99], [0, 0.5], [1, 0.5]]) * side
    assert grid_cells(points, box).tolist() == [0, 9, 90, -1, -1]
    with pytest.raises(DataError, match="box must be of 100 m or more"):
        grid_cells(points, (0.0, 0.0, 0.0001, 1.0))


def test_collapsed_visits():
    place = np.array([3, 3, 4, 3, 3, 3, -1, 3])
    assert collapsed(np.array([0, 4, 8]), place).tolist() == [3, 4, 3, 3]


def test_density_is_a_cosine():
    assert density(np.array([0, 0, 1]), np.array([0, 0, 1, 0, 0, 1])) == pytest.approx(1)
    assert density(np.array([0]), np.array([1])) == 0
    assert density(np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0])) == pytest.approx(0.6)
    with pytest.raises(DataError, match="no point is inside"):
        density(np.array([], dtype=int), np.array([1]))


def test_pattern_of_half_overlap_is_04_with_jaccard_and_05_with_recall():
    a, b = np.arange(100), np.arange(50, 150)
    assert pattern(a, b, 100, jaccard=True) == pytest.approx(0.4)
    assert pattern(a, b, 100, jaccard=False) == pytest.approx(0.5)
    assert pattern(a, a, 100, jaccard=True) == 1
    assert pattern(a, a + 1000, 100, jaccard=True) == 0


def test_pattern_looks_at_the_most_visited_alone():
    a = np.repeat([1, 2, 3], [5, 4, 1])
    b = np.repeat([1, 2, 9], [5, 4, 3])
    assert pattern(a, b, 2, jaccard=True) == 1
    assert pattern(a, b, 3, jaccard=False) == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def roads():
    return plane_roads(grid(6))


def sample(roads, seed, lists=40, points=30, scale=1.0):
    rng = np.random.default_rng(seed)
    low, high = roads.xy.min(axis=0), roads.xy.max(axis=0)
    start = rng.uniform(low, high, (lists, 1, 2))
    xy = (start + scale * rng.normal(0, 20, (lists, points, 2)).cumsum(axis=1)).reshape(-1, 2)
    xy = np.clip(xy, low + 1, high - 1)
    segment = rng.integers(0, roads.segments, len(xy)).astype(np.int32)
    return measured(roads, points * np.arange(lists + 1), xy, segment)


@pytest.mark.parametrize("preset", ["htp", "htp-corrected"])
def test_equal_sets_score_the_ideal_and_others_worse(roads, preset):
    box = (*roads.network.points.min(axis=0), *roads.network.points.max(axis=0))
    real, other = sample(roads, 0), sample(roads, 1, scale=3.0)
    same = scores(real, real, preset, box)
    assert tuple(same) == METRICS
    assert same == pytest.approx(IDEAL, abs=1e-9)
    apart = scores(real, other, preset, box)
    assert apart["s_dist"] > 0.05
    assert all(0 <= value <= 1 for value in apart.values())
    assert apart["g_den"] < 1


def test_distance_to_the_road_is_measured_on_the_sphere(roads):
    middle = roads.network.points.reshape(-1, 2, 2).mean(axis=1)[:1]
    aside = middle + np.array([[0.0, 0.0001]])  # segment 0 runs east
    xy = roads.to_metres(aside)
    one = measured(roads, np.array([0, 1]), xy, np.zeros(1, dtype=np.int32))
    assert one.road_m == pytest.approx(0.0001 * DEGREE_M, rel=1e-3)


def test_bad_input_is_refused(roads):
    with pytest.raises(DataError, match="must be one or more"):
        measured(roads, np.array([0]), np.zeros((0, 2)), np.zeros(0, dtype=np.int32))
    empty = Measured(np.array([0, 1]), np.zeros((1, 2)), np.zeros(1, np.int32), np.zeros(1))
    with pytest.raises(DataError, match="preset must be htp"):
        scores(empty, empty, "other", (0, 0, 1, 1))  # pyright: ignore[reportArgumentType]


def test_card_names_the_rules():
    assert card("htp")["pattern"] == "top 100, precision and Jaccard"
    assert card("htp-corrected")["pattern"] == "top 100, F1"
