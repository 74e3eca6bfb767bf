import gzip
from dataclasses import replace

import numpy as np
import pytest
import tinycity

from raygen.city import open_city
from raygen.errors import DataError
from raygen.geolife import read_mobility
from raygen.mobility import by_slot, check_regions, expand, runs
from raygen.mobility_synthesis import assumed_chains, region_attraction, regions_of, synthesise
from raygen.taxonomy import ACTIVITY_TYPES, HOME, POI_CATEGORIES, WORK
from training.conditions import ORACLE, TRAINING, semantic_plan, temporal_plan


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


@pytest.fixture(scope="module")
def days(city):
    return synthesise(city, assumed_chains(400, 1), 16, 1)


def test_runs_by_hand():
    code, start, cut = runs(np.array([[4, 4, 7, 7, 4], [1, 1, 1, 1, 1]]), 2)
    assert code.tolist() == [[4, 7], [1, -1]]
    assert start.tolist() == [[0, 2], [0, -1]]
    assert cut == 1


def test_expand_undoes_runs(days):
    clock = np.repeat(np.arange(48)[None] // 12, 3, axis=0)
    code, start, _ = runs(clock, 8)
    again = expand(replace(days, region=code.astype(np.int32), slot=start.astype(np.int8)))
    assert (again == clock).all()


def test_a_day_by_slot_is_the_same_day(days):
    slots = by_slot(days)
    assert slots.region.shape == (len(days.region), 48)
    assert (expand(slots) == expand(days)).all()
    held = days.region >= 0
    last = np.where(held, np.arange(held.shape[1]), 0).max(axis=1)
    assert (slots.kind[:, -1] == days.kind[np.arange(len(last)), last]).all()


def test_regions_share_the_zones_attraction(city):
    regions = regions_of(city)
    check_regions(regions)
    share = region_attraction(city)
    assert share.shape == (len(ACTIVITY_TYPES), len(city.region_id))
    assert np.allclose(share.sum(1), city.attraction.sum(1), rtol=1e-4)


def test_faulty_regions_are_named(city):
    regions = regions_of(city)
    poi = regions.poi.copy()
    poi[2] *= 2
    with pytest.raises(DataError, match="1 rows do not sum to 1, first 2"):
        check_regions(replace(regions, poi=poi))
    with pytest.raises(DataError, match="mass must be > 0, got 0"):
        check_regions(replace(regions, mass=regions.mass * 0))
    with pytest.raises(DataError, match=r"poi must be \(\d+, 14\)"):
        check_regions(replace(regions, poi=regions.poi[:, :3]))


def test_home_and_work_are_kept_over_the_day(days):
    for code in (HOME, WORK):
        for region, kind in zip(days.region, days.kind, strict=True):
            assert len(set(region[kind == code])) <= 1


def test_homes_follow_people_and_work_follows_jobs(city, days):
    home = np.bincount(days.region[:, 0], minlength=len(city.region_id))
    assert np.corrcoef(home, city.region_population)[0, 1] > 0.7
    work = days.region[days.kind == WORK]
    jobs = region_attraction(city)[WORK]
    assert jobs[work].mean() > jobs.mean()


def test_places_are_near_rather_than_far(city, days):
    kind = days.kind
    rows, entry = np.nonzero((kind > WORK) & (np.arange(16) > 0))
    here = city.region_xy[days.region[rows, entry]]
    before = city.region_xy[days.region[rows, entry - 1]]
    other = city.region_xy[np.random.default_rng(0).permutation(days.region[rows, entry])]
    gap = np.hypot(*(here - before).T).mean()
    assert gap < np.hypot(*(other - before).T).mean()


def test_a_day_keeps_its_places_whatever_comes_after(city):
    chains = assumed_chains(40, 2)
    whole = synthesise(city, chains, 16, 5)
    part = synthesise(city, chains[:10], 16, 5)
    assert (whole.region[:10] == part.region).all()
    assert (whole.region != synthesise(city, chains, 16, 6).region).any()


def test_assumed_chains_are_home_at_both_ends():
    chains = assumed_chains(300, 3)
    assert (chains[:, 0] == HOME).all()
    assert (chains[:, -1] == HOME).all()
    assert len(np.unique(chains)) == len(ACTIVITY_TYPES)


def test_oracle_plans_are_exact_and_training_plans_are_not(city, days):
    poi = regions_of(city).poi
    typical = city.category_given_type[np.maximum(days.kind, 0)]
    rng = np.random.default_rng(0)
    held = days.region >= 0
    exact = semantic_plan(days, poi, typical, ORACLE, rng)
    assert np.allclose(exact[held], poi[days.region[held]], atol=1e-5)
    M = temporal_plan(days, ORACLE, rng)
    assert (M.argmax(2)[held] == days.slot[held]).all()
    assert M[held].max(1).min() > 0.999
    vague = semantic_plan(days, poi, typical, TRAINING, rng)
    blurred = temporal_plan(days, TRAINING, rng)
    assert np.abs(vague - exact)[:, 1:][held[:, 1:]].mean() > 0.01
    assert np.allclose(vague[:, 0], exact[:, 0], atol=1e-5)
    assert blurred[held].max(1).min() < 0.8
    for plan in (vague, blurred):
        assert np.allclose(plan[held].sum(1), 1, atol=1e-4)
        assert not plan[~held].any()


def geolife(directory, days="0 " * 24 + "1 " * 24, places="39.9 116.3\n39.95 116.4\n10 10\n"):
    for split in ("train", "val"):
        with gzip.open(directory / f"days_{split}.txt.gz", "wt") as file:
            file.write(days + "\n" + "2 " * 48 + "\n")
    (directory / "locations.txt").write_text(places)
    (directory / "pois.csv").write_text("lon,lat,cat\n116.3,39.9,hotel\n116.4,39.95,museum\n")
    return directory


def test_geolife_keeps_days_inside_the_box(tmp_path):
    regions, train, validation = read_mobility(geolife(tmp_path), 4)
    assert len(regions.region_id) == 2
    check_regions(regions)
    assert train.region.shape == (1, 4)
    assert train.slot.tolist() == [[0, 24, -1, -1]]
    assert (validation.region == train.region).all()
    assert np.hypot(*np.diff(regions.xy, axis=0)[0]) == pytest.approx(10_200, rel=0.1)


def test_beijing_is_told_by_its_own_clock(tmp_path):
    # 32 half hours from 8:00 end at midnight: the second place is where the night is spent.
    regions, train, _ = read_mobility(geolife(tmp_path, days="0 " * 32 + "1 " * 16), 4)
    assert train.clock[0].tolist() == [16, 0, -1, -1]
    by_day, by_night = train.region[0, :2]
    home, office = POI_CATEGORIES.index("residential"), POI_CATEGORIES.index("companies")
    assert regions.poi[by_night, home] > 2 * regions.poi[by_day, home]
    assert regions.poi[by_day, office] > 2 * regions.poi[by_night, office]
    plan = temporal_plan(train, ORACLE, np.random.default_rng(0))
    assert plan[0, :2].argmax(axis=1).tolist() == [16, 0]


def test_geolife_refuses_unknown_places(tmp_path):
    with pytest.raises(DataError, match="location ids must be below 1, got 0 to 2"):
        read_mobility(geolife(tmp_path, places="39.9 116.3\n"), 4)


def test_geolife_refuses_short_days(tmp_path):
    with gzip.open(geolife(tmp_path) / "days_train.txt.gz", "wt") as file:
        file.write("0 1 2\n")
    with pytest.raises(DataError, match="a day must have 48 slots, got 3"):
        read_mobility(tmp_path, 4)


def test_geolife_names_the_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_mobility(tmp_path, 4)
