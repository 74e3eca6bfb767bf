import numpy as np
import pyarrow as pa
import pytest
import tinycity
import tinyplanner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raygen import schema
from raygen.city import open_city
from raygen.models.codebook import Codebook, jsd
from raygen.stages.plan import travel_plans
from raygen.taxonomy import EMPLOYMENT, ROLES, SEXES, STUDENT

COUNT = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    city = open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))
    weights = tinyplanner.build(tmp_path_factory.mktemp("weights"), city.name)
    return city, tinyplanner.load(weights)


def tables(roles, homes):
    count = len(roles)
    zero = pa.array(np.zeros(count), pa.float64())
    households = pa.table(
        [
            pa.array(range(count), pa.int64()),
            pa.array(tinycity.ZONE_ID[homes], pa.int32()),
            zero,
            zero,
            pa.array([1] * count, pa.int8()),
            zero.cast(pa.float32()),
            pa.array([0] * count, pa.int8()),
        ],
        schema=schema.HOUSEHOLDS,
    )
    none = pa.array([0] * count)
    persons = pa.table(
        [
            pa.array(range(count), pa.int64()),
            pa.array(range(count), pa.int64()),
            pa.array([30] * count, pa.int8()),
            schema.category(none, SEXES),
            schema.category(none, EMPLOYMENT),
            schema.category(none, STUDENT),
            schema.category(pa.array(roles), ROLES),
            none.cast(pa.int8()),
            pa.array([-1] * count, pa.int32()),
            pa.array([-1] * count, pa.int32()),
        ],
        schema=schema.PERSONS,
    )
    return persons, households


days = st.fixed_dictionaries(
    {
        # Runs of at least an hour: 24 hours of types, each repeated four times.
        "chains": hnp.arrays(np.int8, (COUNT, 24), elements=st.integers(0, 14)).map(
            lambda hours: np.repeat(hours, 4, axis=1)
        ),
        "roles": st.lists(st.integers(0, 5), min_size=COUNT, max_size=COUNT),
        "homes": st.lists(st.integers(0, 5), min_size=COUNT, max_size=COUNT),
    }
)


@settings(max_examples=25, deadline=None)
@given(day=days)
def test_plans_are_distributions_that_cover_the_day(world, day):
    persons, households = tables(day["roles"], day["homes"])
    plans = travel_plans(persons, households, day["chains"], 0, *world).plans
    for column in ("temporal_plan", "semantic_plan"):
        values = np.stack(plans.column(column).to_numpy())
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)
    chain = np.concatenate(
        [
            np.repeat(kind, end - start)
            for kind, start, end in zip(
                *(plans.column(c).to_numpy() for c in ("type", "start_slot", "end_slot")),
                strict=True,
            )
        ]
    )
    np.testing.assert_array_equal(chain.reshape(COUNT, 96), day["chains"])


@settings(max_examples=25, deadline=None)
@given(day=days, order=st.permutations(range(COUNT)), cut=st.integers(0, COUNT))
def test_a_persons_plans_do_not_depend_on_the_shard(world, day, order, cut):
    persons, households = tables(day["roles"], day["homes"])
    whole = travel_plans(persons, households, day["chains"], 0, *world).plans
    parts = [
        travel_plans(persons.take(rows), households, day["chains"][rows], 0, *world).plans
        for rows in np.split(np.array(order), [cut])
    ]
    joined = pa.concat_tables(parts)
    keys = [("person_id", "ascending"), ("sequence", "ascending")]
    position = pa.compute.sort_indices(joined, sort_keys=keys)
    assert joined.take(position).combine_chunks().equals(whole.combine_chunks())


distributions = hnp.arrays(
    np.float64, (7, 14), elements=st.floats(0, 1, allow_subnormal=False)
).map(lambda x: (x + 1e-9) / (x + 1e-9).sum(axis=1, keepdims=True))


@settings(max_examples=50, deadline=None)
@given(p=distributions, codes=distributions)
def test_a_rows_code_depends_on_the_row_alone_and_jsd_is_in_bits(p, codes):
    book = Codebook(codes)
    together = book.nearest(p)
    assert together.tolist() == [int(book.nearest(row[None])[0]) for row in p]
    divergence = jsd(p, codes)
    assert ((divergence >= 0) & (divergence <= 1)).all()
    np.testing.assert_allclose(divergence, jsd(codes, p), atol=1e-12)
