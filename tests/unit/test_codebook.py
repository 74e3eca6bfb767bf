import numpy as np
import pytest

from raygen import seeds
from raygen.errors import DataError
from raygen.models import codebook
from raygen.models.codebook import Codebook


def samples(count):
    return seeds.stream(3, "codebook-test").dirichlet(np.full(14, 0.5), size=count)


def test_a_code_is_its_own_nearest():
    book = codebook.fit(samples(200), 8, seed=0)
    assert book.nearest(book.codes).tolist() == list(range(8))
    assert book.error(book.codes).max() == 0


def test_nearest_is_in_the_hellinger_distance_not_the_euclidean():
    p = np.full(14, 0.0)
    p[[0, 1]] = 0.90, 0.10
    far_in_roots = np.zeros(14)
    far_in_roots[0] = 1.0  # Euclidean distance 0.14, Hellinger affinity 0.949
    near_in_roots = np.zeros(14)
    near_in_roots[[0, 1]] = 0.75, 0.25  # Euclidean distance 0.21, Hellinger affinity 0.980
    assert Codebook(np.stack([far_in_roots, near_in_roots])).nearest(p[None]).tolist() == [1]


def test_equal_fits_have_equal_digests_and_other_seeds_others():
    one, same, other = (codebook.fit(samples(300), 6, seed) for seed in (1, 1, 2))
    assert one.digest == same.digest
    assert one.digest != other.digest


def test_codes_are_distributions_kept_to_float32():
    codes = codebook.fit(samples(300), 6, seed=1).codes
    np.testing.assert_allclose(codes.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(codes, codes.astype(np.float32))


def test_more_codes_err_less():
    held = samples(1500)
    errors = [codebook.fit(held[500:], k, 0).error(held[:500]).mean() for k in (4, 16, 64)]
    assert errors[0] > errors[1] > errors[2]


def test_jsd_of_disjoint_distributions_is_one_bit():
    assert codebook.jsd(np.eye(2)[:1], np.eye(2)[1:]) == pytest.approx(1.0)
    half = np.array([[0.5, 0.5]])
    # (KL([1,0] ‖ [¾,¼]) + KL([½,½] ‖ [¾,¼])) / 2 by hand
    want = (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5 * np.log2(2)) / 2
    assert codebook.jsd(np.eye(2)[:1], half) == pytest.approx(want)


def test_too_few_samples_are_refused():
    with pytest.raises(DataError, match="at least 8 samples for 8 codes, got 5"):
        codebook.fit(samples(5), 8, 0)


def test_rows_that_are_no_distributions_are_refused():
    with pytest.raises(DataError, match="rows that sum to 1"):
        codebook.fit(2 * samples(20), 8, 0)
