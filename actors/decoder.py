"""Ray actor that decodes latents into region priors."""

import ray
import torch

from actors.parcels import Decoded, Denoised, Planned, Stopwatch
from raygen import checkpoints
from raygen.city import City
from raygen.config import RunConfig
from raygen.models.spatial import load_decoder
from raygen.stages.decode import decode


class Decoder:
    """Hold a city's spatial decoder; decode shards."""

    def __init__(self, city: City, config: RunConfig) -> None:
        torch.set_num_threads(config.compute.threads)
        self._decoder = load_decoder(checkpoints.folder(config.weights), city, config.compute)
        self._city = city

    @ray.method
    def decode(self, denoised: Denoised, planned: Planned) -> Decoded:
        """Return the region prior of each row of the plans; see ``decode``."""
        watch = Stopwatch("decode")
        priors = decode(denoised.latents, planned.plans, self._decoder, self._city)
        return Decoded(priors, (*denoised.costs, watch.stop()))


DecoderActor = ray.remote(Decoder)
