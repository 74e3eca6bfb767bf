"""Ray actor that denoises the unified latents of a shard's arrivals."""

import ray
import torch

from actors.parcels import Denoised, Planned, Stopwatch
from raygen import checkpoints
from raygen.config import RunConfig
from raygen.models.generator import load_generator
from raygen.stages.denoise import denoise


class Denoiser:
    """Hold the mobility generator; sample the latents of shards."""

    def __init__(self, config: RunConfig) -> None:
        torch.set_num_threads(config.compute.threads)
        weights = checkpoints.folder(config.weights)
        self._generator = load_generator(weights, config.generator, config.compute)
        self._seed = config.seed

    @ray.method
    def denoise(self, planned: Planned) -> Denoised:
        """Return a latent for each row of the plans; see ``denoise``."""
        watch = Stopwatch("denoise")
        latents = denoise(planned.plans, self._generator, self._seed)
        return Denoised(latents, (*planned.costs, watch.stop()))


DenoiserActor = ray.remote(Denoiser)
