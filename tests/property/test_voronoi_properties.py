import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.errors import DataError
from raygen.mobility import Days, Regions, check_regions, expand, runs
from raygen.voronoi import join_days, join_regions, voronoi


def places(seed, count):
    """A dense centre and a thin outskirt."""
    rng = np.random.default_rng(seed)
    spread = np.where(rng.random(count) < 0.7, 2000.0, 15_000.0)[:, None]
    return rng.standard_normal((count, 2)) * spread, rng.random(count) + 0.01


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(30, 120), st.integers(1, 25))
def test_points_lie_in_the_cell_of_their_nearest_seed_and_areas_add_up(seed, count, cells):
    xy, weight = places(seed, count)
    boundary = shapely.buffer(shapely.convex_hull(shapely.multipoints(xy)), 500.0)
    found = voronoi(xy, weight, cells, 1, boundary)
    assert len(found.region_id) == len(set(found.region_id.tolist())) == cells
    row = found.cell_of(xy)
    assert (shapely.distance(found.polygon[row], shapely.points(xy)) < 1e-6).all()
    gap = np.hypot(*(xy[:, None] - found.xy[None]).transpose(2, 0, 1))
    assert (gap[np.arange(count), row] == gap.min(axis=1)).all()
    assert shapely.area(found.polygon).sum() == pytest.approx(shapely.area(boundary), rel=1e-6)


def test_cells_are_smaller_where_more_people_are():
    xy, weight = places(3, 600)
    found = voronoi(xy, weight, 40, 1)
    near = np.hypot(*found.xy.T) < 3000.0
    areas = shapely.area(found.polygon)
    assert np.median(areas[near]) < 0.3 * np.median(areas[~near])


def test_ids_are_those_of_the_seeds_places():
    xy, weight = places(4, 80)
    one, again = (voronoi(xy, weight, 9, 1) for _ in range(2))
    order = np.random.default_rng(0).permutation(80)
    assert (one.region_id == again.region_id).all()
    assert (np.diff(one.region_id.astype(object)) > 0).all()
    shuffled = voronoi(xy[order], weight[order], 9, 1)
    assert (one.region_id == shuffled.region_id).all()
    assert (one.region_id != voronoi(xy + 1000.0, weight, 9, 1).region_id).any()


def test_faulty_requests_are_refused():
    xy, weight = places(5, 10)
    with pytest.raises(DataError, match="cells must be 1 to 10, the places with a weight, got 11"):
        voronoi(xy, weight, 11, 1)
    with pytest.raises(DataError, match="seeds must lie inside the boundary"):
        voronoi(xy, weight, 5, 1, shapely.box(1e6, 1e6, 2e6, 2e6))


def regions(seed=6, count=60):
    xy, weight = places(seed, count)
    poi = np.random.default_rng(seed).dirichlet(np.ones(14), count).astype(np.float32)
    ids = np.arange(count, dtype=np.uint64)
    return Regions("town", ids, poi, xy, weight * 100, {"poi": "assumed", "mass": "assumed"})


def test_joined_regions_keep_mass_and_pois():
    town = regions()
    joined, cell, cells = join_regions(town, 12, 1)
    check_regions(joined)
    assert len(joined.region_id) == len(cells.polygon) == cell.max() + 1
    assert joined.mass.sum() == pytest.approx(town.mass.sum())
    before = (town.mass[:, None] * town.poi).sum(0)
    assert (joined.mass[:, None] * joined.poi).sum(0) == pytest.approx(before, rel=1e-4)
    assert (cells.cell_of(town.xy) == cell).all()


@given(st.integers(0, 100))
def test_joined_days_are_where_the_cells_are(seed):
    rng = np.random.default_rng(seed)
    clock = rng.integers(0, 60, (20, 8)).repeat(6, axis=1)
    code, start, cut = runs(clock, 16)
    days = Days(code.astype(np.int32), start.astype(np.int8), np.full(code.shape, -1, np.int8), cut)
    cell = rng.integers(0, 5, 60)
    joined = join_days(days, cell)
    assert (expand(joined) == cell[clock]).all()
    held = joined.region >= 0
    assert (joined.region[:, 1:] != joined.region[:, :-1])[held[:, 1:]].all()
    typed = Days(days.region, days.slot, np.where(code >= 0, 3, -1).astype(np.int8), cut)
    kept = join_days(typed, cell)
    assert (kept.length == typed.length).all()
    assert (expand(kept) == cell[clock]).all()
