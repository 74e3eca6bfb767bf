"""Visits to a place together: exact against enumeration, and what ρ does."""

import itertools

import numpy as np
import pytest

from raygen.inference.bayes import Evidence, place_scores, posteriors, visits_by_place
from raygen.taxonomy import SCHOOL, WORK

TYPES = 4  # the kernels take any number; four can be enumerated


def evidence(visits, seed=0, types=TYPES):
    rng = np.random.default_rng(seed)
    return Evidence(
        *(np.log(rng.dirichlet(np.ones(types), n)) for n in (visits, visits, 1, visits))
    )


def together(given, consistency):
    order, start = visits_by_place(np.zeros(len(given.time), np.int64), 1)
    return posteriors(given, order, start, consistency)


def enumerated(given, consistency):
    """Sum P(U) Π P(T_v | U) w_v(T_v) over all U and T, from the definition."""
    visits = len(given.time)
    own = np.exp(given.visit)
    own /= own.sum(1, keepdims=True)
    rate = np.exp(given.prior + given.time)
    place = np.exp(given.place[0])
    out = np.zeros((visits, TYPES))
    for shared in range(TYPES):
        for kinds in itertools.product(range(TYPES), repeat=visits):
            weight = place[shared]
            for visit, kind in enumerate(kinds):
                same = consistency * (kind == shared)
                weight *= (same + (1 - consistency) * own[visit, kind]) * rate[visit, kind]
            for visit, kind in enumerate(kinds):
                out[visit, kind] += weight
    return out / out.sum(1, keepdims=True)


@pytest.mark.parametrize("consistency", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("visits", [1, 2, 4])
def test_the_sums_are_exact(visits, consistency):
    given = evidence(visits, seed=visits)
    assert together(given, consistency) == pytest.approx(enumerated(given, consistency))


def test_a_visit_alone_is_the_product():
    given = evidence(1)._replace(place=evidence(1).visit)
    product = np.exp(given.prior + given.time + given.visit)
    assert together(given, 0.8) == pytest.approx(product / product.sum())


def test_an_unclear_visit_follows_the_others():
    sure, unclear = [-0.1, -9.0, -9.0, -9.0], [-1.4] * TYPES
    flat = np.full((4, TYPES), -1.4)
    given = Evidence(flat, np.array([sure, sure, sure, unclear]), flat[:1], flat)
    assert together(given, 0.0)[3, 0] == pytest.approx(0.25)
    assert together(given, 0.8)[3, 0] > 0.8
    # A visit that is clearly another keeps its own type.
    other = given._replace(time=np.array([sure, sure, sure, [-20.0, -0.1, -20.0, -20.0]]))
    assert together(other, 0.8)[3, 1] > 0.99


def test_places_are_apart():
    given = evidence(6)
    given = given._replace(place=np.repeat(given.place, 2, axis=0))
    of_stay = np.array([0, 1, 0, 1, 1, 0])
    order, start = visits_by_place(of_stay, 2)
    assert order.tolist() == [0, 2, 5, 1, 3, 4]
    found = posteriors(given, order, start, 0.7)
    for place in range(2):
        rows = np.flatnonzero(of_stay == place)
        alone = Evidence(given.prior[rows], given.time[rows], given.place[:1], given.visit[rows])
        assert found[rows] == pytest.approx(together(alone, 0.7))


def test_scores_of_a_place():
    given = evidence(3, types=15)
    (score,) = place_scores(given, np.arange(3), np.array([0, 3]))
    plain = given.place[0] + (given.time + given.prior).sum(0)
    others = [kind for kind in range(15) if kind not in (WORK, SCHOOL)]
    assert score[others] == pytest.approx(plain[others])
    either = np.log(np.exp(given.prior[:, [WORK, SCHOOL]]).sum(1))
    own = either.sum() + (given.prior[:, WORK] - either).mean()
    assert score[WORK] == pytest.approx(given.place[0, WORK] + given.time[:, WORK].sum() + own)
