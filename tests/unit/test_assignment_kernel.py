"""The location kernel against plain references."""

from dataclasses import replace

import numpy as np
import placing
import pytest

from assignment.anchors import anchor_tables
from assignment.cost import bearing_of
from assignment.draws import (
    USE_ANGLE,
    USE_DISTANCE,
    USE_ZONE,
    counter,
    person_keys,
    quantile,
    unit,
)
from assignment.itinerary import read_people, read_plan, read_prior
from assignment.kernel import Travellers, next_anchors, place_activities
from assignment.place import draw_anchors, run_setting, travellers_of
from assignment.ring import pick
from assignment.times import CONGESTION, Plan
from raygen.config import AssignmentConfig
from raygen.taxonomy import HOME, SCHOOL, WORK

CITY = placing.grid_city(8, 6, seed=5)
TABLES = anchor_tables(CITY)
SHARD = placing.shard(CITY, 150, seed=1)
MIN_STAY = 300
TOP, OTHER_TOP = [2, 20, 45], [7, 30, 11]


def inputs(shard: placing.Shard, seed: int = 7):
    people = read_people(shard[0], shard[1], CITY, seed)
    plan, owner = read_plan(shard[2], people)
    work, school = draw_anchors(people, TABLES, seed)
    fixed = {HOME: people.home_zone[owner], WORK: work[owner], SCHOOL: school[owner]}
    zone = np.full(len(owner), -1, np.int32)
    for kind, anchor in fixed.items():
        zone[plan.type == kind] = anchor[plan.type == kind]
    return people, plan, read_prior(shard[3], len(owner)), zone


def travellers(people) -> Travellers:
    """The people, all as fast as the car."""
    found = travellers_of(people, run_setting(CITY, TABLES, AssignmentConfig()))
    return found._replace(pace=np.ones(len(found.pace)))


def car_s(origin: int, destination: int, arrival: int) -> float:
    busy = CONGESTION[arrival % 86400 // 3600]
    free, peak = CITY.free_time_s[origin, destination], CITY.peak_time_s[origin, destination]
    return float(free + busy * (peak - free))


def angle(p: int, z: int, n: int) -> float:
    a, b = CITY.zone_xy[z] - CITY.zone_xy[p], CITY.zone_xy[n] - CITY.zone_xy[p]
    return float(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


def fresh(zone: np.ndarray) -> np.ndarray:
    """Return that nobody goes back to a place."""
    return np.full(len(zone), -1)


class Reference:
    """Cost and violation of every zone for one activity, the slow and plain way."""

    def __init__(self, plan: Plan, zone: np.ndarray, k: int, start: float, key: np.uint64) -> None:
        n = next(j for j in range(k + 1, len(zone)) if plan.type[j] in (HOME, WORK, SCHOOL))
        count = counter(plan.day[k], plan.sequence[k], 0)
        wanted_km = quantile(TABLES.distance_km[0, plan.type[k]], unit(key, count + USE_DISTANCE))
        wanted_angle = quantile(TABLES.reference.angle_rad, unit(key, count + USE_ANGLE))
        p, self.draw = zone[k - 1], unit(key, count + USE_ZONE)
        self.distance, self.angle, self.violation = [], [], []
        for z in range(len(CITY.zone_id)):
            turn = abs(angle(p, z, zone[n]) - wanted_angle) if z != p and zone[n] != p else 0.0
            self.distance.append(abs(CITY.distance_m[p, z] / 1000 - wanted_km))
            self.angle.append(turn)
            over = car_s(p, z, plan.planned[k]) - (plan.planned[k] - start - MIN_STAY)
            room = plan.planned[n] - plan.planned[k] - (n - k) * MIN_STAY
            late = car_s(z, zone[n], plan.planned[n]) - room
            self.violation.append(max(over, 0.0) + max(late, 0.0))
        self.allowed = CITY.attraction[plan.type[k]] > 0


def check_each_activity(config: AssignmentConfig, check) -> tuple[int, int]:
    """Run the kernel, and call check(reference, zone, k) on every placed activity in turn."""
    people, plan, prior, zone = inputs(SHARD)
    opened = zone < 0
    setting = run_setting(CITY, TABLES, config)
    infeasible = place_activities(setting, plan, prior, travellers(people), zone, fresh(zone))
    assert (zone >= 0).all()
    stuck = 0
    for person, key in enumerate(people.keys):
        start = -MIN_STAY
        for k in range(plan.person_start[person], plan.person_start[person + 1]):
            travel = 0.0
            if opened[k]:
                reference = Reference(plan, zone, k, start, key)
                stuck += check(reference, zone[k], k)
            if plan.sequence[k] > 0:
                travel = car_s(zone[k - 1], zone[k], plan.planned[k])
            start = max(plan.planned[k], start + MIN_STAY + travel)
    return int(infeasible), stuck


def test_gamma_zero_is_algorithm_3_with_the_time_constraint() -> None:
    config = AssignmentConfig(alpha=0.8, beta=1.3, gamma=0.0, candidates=4096)

    def check(reference: Reference, chosen: int, _: int) -> bool:
        over = np.where(reference.allowed, reference.violation, np.inf)
        if over.min() > 0:
            assert over[chosen] == pytest.approx(over.min(), rel=1e-4, abs=0.5)
            return True
        cost = 0.8 * np.array(reference.distance) + 1.3 * np.array(reference.angle)
        cost[over > 0] = np.inf
        assert cost[chosen] == pytest.approx(cost.min(), abs=1e-3)
        return False

    infeasible, stuck = check_each_activity(config, check)
    assert infeasible == stuck > 0


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma"), [(1.0, 1.0, 0.5), (0.3, 2.0, 1.5), (0.0, 1.0, 0.8)]
)
def test_zones_are_drawn_by_their_cost_and_the_prior(
    alpha: float, beta: float, gamma: float
) -> None:
    """P(z) ∝ P_prior(z) · exp(−(α·|…| + β·|…|)/γ) over the feasible zones that take the type."""
    config = AssignmentConfig(alpha=alpha, beta=beta, gamma=gamma, candidates=4096)
    prior, zones = inputs(SHARD)[2], len(CITY.zone_id)
    expected, spread, found = np.zeros((3, zones))
    costs: list[tuple[float, float, float]] = []

    def check(reference: Reference, chosen: int, k: int) -> bool:
        fits = reference.allowed & (np.array(reference.violation) <= 0)
        if not fits.any():
            return True
        cost = alpha * np.array(reference.distance) + beta * np.array(reference.angle)
        gain = np.zeros(zones)
        for zone, log_p in zip(prior.zones[k][::-1], prior.log_probability[k][::-1], strict=True):
            if zone >= 0:
                gain[zone] = max(log_p, -40.0) - prior.log_floor[k]
        cost -= gamma * gain
        weight = np.where(fits, np.exp(-(cost - cost[fits].min()) / gamma), 0.0)
        chance = weight / weight.sum()
        assert chance[chosen] > 0
        expected[:] += chance
        spread[:] += chance * (1 - chance)
        found[chosen] += 1
        mean = float(chance @ cost)
        costs.append((cost[chosen], mean, float(chance @ (cost - mean) ** 2)))
        return False

    infeasible, stuck = check_each_activity(config, check)
    assert infeasible == stuck
    assert len(costs) > 200
    assert (np.abs(found - expected) <= 4.5 * np.sqrt(spread) + 0.5).all()
    drawn, mean, variance = np.array(costs).T
    assert abs((drawn - mean).sum()) < 4 * np.sqrt(variance.sum())


def test_few_candidates_cost_little_more_than_all() -> None:
    def cost_of(candidates: int) -> float:
        total = []

        def check(reference: Reference, chosen: int, _: int) -> bool:
            total.append(reference.distance[chosen] + reference.angle[chosen])
            return False

        check_each_activity(AssignmentConfig(gamma=0.0, candidates=candidates), check)
        return float(np.mean(total))

    assert cost_of(4096) <= cost_of(12) <= cost_of(4096) * 1.3


def test_chosen_zones_take_the_type_and_fit_in_time() -> None:
    def check(reference: Reference, chosen: int, _: int) -> bool:
        assert reference.allowed[chosen]
        feasible = reference.allowed & (np.array(reference.violation) <= 0)
        if feasible.any():
            assert reference.violation[chosen] <= 0.5
        return not feasible.any()

    infeasible, stuck = check_each_activity(AssignmentConfig(), check)
    assert infeasible == stuck


def one_stop(persons: int, arrival: int = 40) -> placing.Shard:
    """Adults of one home zone who go out once, for hours."""
    households, people, _, _ = placing.shard(CITY, persons, seed=2)
    home = np.full(len(households), CITY.zone_id[20], np.int32)
    households = households.set_column(1, households.schema.field(1), [home])
    day = placing.day_rows([(8, arrival), (HOME, 80)])
    rows = [(p, 0, s, *a) for p in people["person_id"].to_pylist() for s, a in enumerate(day)]
    zones = np.full((len(rows), 32), -1)
    zones[:, :3] = TOP
    zones[len(rows) // 2 :, :3] = OTHER_TOP
    log_p = np.zeros((len(rows), 32))
    log_p[:, :3] = np.log([0.5, 0.3, 0.1])
    floor = np.full(len(rows), np.log(0.1 / 45))
    return households, people, placing.plan_table(rows), placing.prior_table(zones, log_p, floor)


def test_alpha_beta_zero_draws_from_the_prior() -> None:
    """UniMob alone: P over all zones that take the type, floor included."""
    people, plan, prior, zone = inputs(one_stop(20_000))
    stops = zone < 0
    setting = run_setting(CITY, TABLES, AssignmentConfig(alpha=0.0, beta=0.0, gamma=0.7))
    place_activities(setting, plan, prior, travellers(people), zone, fresh(zone))
    chosen = zone[stops]
    half = (len(zone) // 2 + 1) // 3  # rows: home, stop, home
    for top, found in ((TOP, chosen[:half]), (OTHER_TOP, chosen[half:])):
        share = np.full(48, 0.1 / 45)
        share[top] = [0.5, 0.3, 0.1]
        share *= CITY.attraction[8] > 0
        share /= share.sum()
        near = np.bincount(found, minlength=48) / len(found)
        assert (np.abs(near - share) < 4.5 * np.sqrt(share * (1 - share) / len(found)) + 1e-6).all()


def test_the_prior_pulls_harder_with_gamma() -> None:
    share = []
    for gamma in (0.0, 0.3, 3.0):
        people, plan, prior, zone = inputs(one_stop(1000))
        stops = zone < 0
        setting = run_setting(CITY, TABLES, AssignmentConfig(gamma=gamma))
        place_activities(setting, plan, prior, travellers(people), zone, fresh(zone))
        share.append(np.isin(zone[stops], TOP + OTHER_TOP).mean())
    assert share[0] < share[1] < share[2]


def test_distances_follow_the_reference_at_gamma_zero() -> None:
    people, plan, prior, zone = inputs(one_stop(4000))
    stops = np.flatnonzero(zone < 0)
    setting = run_setting(CITY, TABLES, AssignmentConfig(beta=0.0, gamma=0.0))
    place_activities(setting, plan, prior, travellers(people), zone, fresh(zone))
    km = CITY.distance_m[zone[stops - 1], zone[stops]] / 1000
    wanted = TABLES.distance_km[0, 8]
    reachable = np.sort(CITY.distance_m[20]) / 1000
    snapped = reachable[np.abs(reachable[:, None] - wanted).argmin(axis=0)]
    assert np.mean(km) == pytest.approx(np.mean(snapped), rel=0.1)


def test_pick_is_the_least_cost_at_zero_temperature() -> None:
    assert pick(np.array([3.0, 1.0, 1.0, 2.0]), 4, 1.0, 0.0, 0.99) == (1, 0.99)


def test_pick_follows_the_costs_at_a_temperature() -> None:
    cost, draws = np.array([1.0, 0.0, 2.5]), (np.arange(20_000) + 0.5) / 20_000
    picked = [pick(cost.copy(), 3, 0.0, 0.8, u) for u in draws]
    found = np.bincount([at for at, _ in picked], minlength=3) / 20_000
    expected = np.exp(-cost / 0.8)
    for at in range(3):  # what is left of the draw is uniform whatever was picked
        left = np.sort([rest for place, rest in picked if place == at])
        np.testing.assert_allclose(left, (np.arange(len(left)) + 0.5) / len(left), atol=2e-3)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-4)


def test_a_bearing_is_arctan2() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(0, 5e3, (500, 2)), np.eye(2) * 7, -np.eye(2) * 7])
    found = np.array([bearing_of(x, y) for x, y in points])
    wanted = np.arctan2(points[:, 1], points[:, 0])
    np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * wanted), atol=2e-7)  # −π is π
    assert bearing_of(0.0, 0.0) == 0.0


@pytest.mark.parametrize("count", [1, 3, 8, 21, 64])
def test_what_costs_infinitely_is_not_picked(count: int) -> None:
    cost = np.where(np.arange(count) % 3 == 0, 1.0, np.inf)
    picked = [pick(cost.copy(), count, 1.0, 0.5, u)[0] for u in np.linspace(0, 1, 97)[:-1]]
    assert sorted(set(picked)) == list(range(0, count, 3))


def test_next_anchor_is_of_the_same_day() -> None:
    sequence = np.array([0, 1, 2, 3, 0, 1, 2])
    plan = Plan(np.array([0, 7]), np.array([0] * 4 + [1] * 3), sequence, sequence, sequence)
    zone = np.array([5, -1, -1, 5, 5, -1, 5], np.int32)
    assert next_anchors(plan, zone).tolist() == [3, 3, 3, 3, 6, 6, 6]


def test_draws_of_a_person_are_its_own_and_uniform() -> None:
    keys = person_keys(1, "assignment", np.arange(2000))
    assert len(np.unique(keys)) == 2000
    some = person_keys(1, "assignment", np.array([17, 3, 1999]))
    np.testing.assert_array_equal(some, keys[[17, 3, 1999]])
    draws = np.array([unit(keys[i], c) for i in range(200) for c in range(50)])
    assert abs(draws.mean() - 0.5) < 4.5 / np.sqrt(12 * len(draws))
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 4.5 / np.sqrt(len(draws))


def test_a_late_arrival_takes_time_from_the_next_window() -> None:
    households, people, _, _ = placing.shard(CITY, 40, seed=4)
    day = placing.day_rows([(8, 40), (6, 41), (9, 44), (HOME, 80)])
    rows = [(p, 0, s, *a) for p in people["person_id"].to_pylist() for s, a in enumerate(day)]
    none = np.full((len(rows), 32), -1)
    priors = placing.prior_table(none, np.zeros((len(rows), 32)), np.zeros(len(rows)))
    people, plan, prior, zone = inputs((households, people, placing.plan_table(rows), priors))
    plan = plan._replace(planned=plan.planned // 900 * 900)
    setting = run_setting(CITY, TABLES, AssignmentConfig(min_stay_s=1800))
    # The second stop is 15 minutes after the first and so at least 15 late; from its planned
    # arrival the third would be in time, from its real one it is not.
    assert place_activities(setting, plan, prior, travellers(people), zone, fresh(zone)) == 2 * len(
        people.age
    )


def test_where_no_zone_is_in_time_the_type_still_holds() -> None:
    allowed = TABLES.allowed.copy()
    allowed[8] = np.arange(48) == 40
    people, plan, prior, zone = inputs(one_stop(50, arrival=1))
    plan = plan._replace(planned=np.where(plan.sequence == 1, 301, plan.planned))
    stops = zone < 0
    setting = run_setting(CITY, replace(TABLES, allowed=allowed), AssignmentConfig())
    assert (
        place_activities(setting, plan, prior, travellers(people), zone, fresh(zone)) == stops.sum()
    )
    assert (zone[stops] == 40).all()
