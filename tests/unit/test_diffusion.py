import numpy as np
import pytest
import torch

from raygen.models.diffusion import (
    LOG_SNR_FIRST,
    add_noise,
    log_snr,
    sample,
    sampling_steps,
    signal,
)

STEPS = 1000


def test_schedule_is_the_papers():
    kept = signal(STEPS)
    assert kept[0].item() == pytest.approx(1 - 0.001, rel=1e-5)
    assert (kept[999] / kept[998]).item() == pytest.approx(1 - 0.1, rel=1e-3)
    assert (np.diff(log_snr(STEPS).numpy()) < 0).all()


def test_noise_mixes_by_the_signal():
    x0, noise = torch.full((2, 3), 5.0), torch.full((2, 3), 1.0)
    mixed = add_noise(x0, noise, torch.tensor([0.25, 1.0]))
    assert mixed[0, 0].item() == pytest.approx(0.5 * 5 + 0.75**0.5)
    assert mixed[1, 0].item() == pytest.approx(5.0)


@pytest.mark.parametrize("count", [1, 4, 10])
def test_steps_fall_evenly_over_the_log_ratio(count):
    steps = sampling_steps(count, STEPS)
    assert len(steps) == count
    assert steps == sorted(steps, reverse=True)
    ladder = log_snr(STEPS).numpy()
    assert ladder[steps[0]] == pytest.approx(LOG_SNR_FIRST, abs=0.05)
    if count == 10:
        assert np.ptp(np.diff(ladder[steps])) < 0.25


def test_steps_that_fall_together_are_taken_once():
    steps = sampling_steps(50, STEPS)
    assert 40 <= len(steps) == len(set(steps)) <= 50


def test_ddim_is_diffusers_ddim():
    from diffusers import DDIMScheduler

    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    steps = [900, 700, 500, 300, 100]

    def predict(x, t):
        return torch.tanh(x) * 0.5 + t / 5000

    ours = sample(predict, noise, "ddim", steps, STEPS)
    theirs = DDIMScheduler(STEPS, 0.001, 0.1, "linear", prediction_type="sample", clip_sample=False)
    theirs.set_timesteps(5)
    theirs.timesteps = torch.tensor(steps)
    x = noise
    for step in steps[:-1]:
        x = theirs.step(predict(x, step), step, x).prev_sample
    assert torch.allclose(ours, predict(x, steps[-1]), atol=1e-4)


@pytest.mark.parametrize(
    ("sampler", "count", "tolerance"),
    [("ddpm", 50, 0.06), ("ddim", 50, 0.02), ("dpmsolver++", 10, 0.04), ("dpmsolver++", 50, 0.02)],
)
def test_spread_of_a_known_gaussian(sampler, count, tolerance):
    # x_0 ~ N(1, 0.5²): the exact denoiser is the posterior mean.
    kept = signal(STEPS)

    def predict(x, t):
        a, v = kept[t].sqrt(), 1 - kept[t]
        gain = 0.25 * a / (0.25 * a**2 + v)
        return 1.0 + gain * (x - a)

    steps = sampling_steps(count, STEPS)
    sets = 1 + len(steps) if sampler == "ddpm" else 1
    noise = torch.randn(sets, 20_000, generator=torch.Generator().manual_seed(1))
    found = sample(predict, noise if sampler == "ddpm" else noise[0], sampler, steps, STEPS)
    assert found.mean().item() == pytest.approx(1.0, abs=0.02)
    assert found.std().item() == pytest.approx(0.5, abs=tolerance)
