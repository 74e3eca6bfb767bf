import numpy as np

from raygen import seeds
from raygen.markov import fit_markov
from raygen.taxonomy import SLOTS


def test_markov_days_keep_the_share_at_each_slot_by_group():
    rng = np.random.default_rng(0)
    out = np.zeros((600, SLOTS), np.int8)
    works = rng.random(600) < 0.7
    out[works, 32:64] = 1
    row = np.repeat([0, 1], 300)
    out[300:] = 0
    fitted = fit_markov(out, row, np.ones(600), 2)
    drawn = fitted.sample(np.repeat([0, 1], 2000), seeds.uniforms(0, "t", np.arange(4000), SLOTS))
    share = (drawn[:2000, 40] == 1).mean()
    assert abs(share - out[:300, 40].mean()) < 4 * np.sqrt(0.25 / 2000) + 0.02
    assert (drawn[2000:, 40] == 1).mean() < 0.1
