"""Weights for the tiny city, made in code: small networks with random weights, no training.

The planner's table is complete, so no language model is asked.
"""

from pathlib import Path

import numpy as np
import tinytrajectories
import torch

from raygen import checkpoints
from raygen.city import City
from raygen.config import ComputeConfig, PlannerConfig
from raygen.models import plan_table, spatial
from raygen.models.adapters import GROUP_ROWS, AdapterConfig
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.models.generator import DiT, DiTConfig
from raygen.models.plan_net import OutputLayer, PlannerArchitecture
from raygen.models.planner import Planner
from raygen.taxonomy import ACTIVITY_TYPES, HOME, PLAN_SLOTS, POI_CATEGORIES, ROLES

LATENT = 16
CODES = 4
LABEL = {"weights": "random: assumed"}


def build(directory: Path, city: City) -> Path:
    """Write the weights that a run in the city needs, and return their directory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        _chains(directory)
        encoder = _encoder(directory)
        _generator(directory, encoder)
        _decoder(directory, encoder, city)
        _planner(directory, city)
        tinytrajectories.build(directory)
    return directory


def _chains(directory: Path) -> None:
    config = ChainDecoderConfig(width=16, layers=1, heads=2, feedforward=16)
    tensors = ChainDecoder(config).state_dict()
    checkpoints.save(directory / "reconstruction", "reconstruction", config, tensors, LABEL)
    shift = torch.zeros(2, GROUP_ROWS, 1, len(ACTIVITY_TYPES))
    shift[:, :, HOME] = 4.0  # a random network knows no days; most slots are at home
    stay = torch.full((2, GROUP_ROWS), 0.2)
    tensors = {"shift": shift, "stay_home": stay}
    checkpoints.save(directory / "adapters", "adapters", AdapterConfig(), tensors, LABEL)


def _encoder(directory: Path) -> str:
    config = spatial.SpatialConfig(latent=LATENT, hidden=8, levels=2)
    tensors = spatial.SpatialEncoder(config).state_dict()
    checkpoints.save(directory / "spatial", "spatial", config, tensors, LABEL)
    return checkpoints.label(directory / "spatial")[0]


def _generator(directory: Path, encoder: str) -> None:
    config = DiTConfig(latent=LATENT, ffn=32, blocks=1, heads=2, encoder_digest=encoder)
    tensors = DiT(config).state_dict()
    checkpoints.save(directory / "generator", "generator", config, tensors, LABEL)


def _decoder(directory: Path, encoder: str, city: City) -> None:
    config = spatial.DecoderConfig(
        city=city.name,
        regions=len(city.region_id),
        regions_digest=spatial.regions_digest(city.region_id),
        encoder_digest=encoder,
        latent=LATENT,
        hidden=8,
    )
    tensors = spatial.SpatialDecoder(config).state_dict()
    folder = spatial.decoder_directory(directory, city.name)
    checkpoints.save(folder, "decoder", config, tensors, LABEL)


def _planner(directory: Path, city: City) -> None:
    config = PlannerArchitecture(base_digest="none", hidden=8, codes=CODES)
    head = {f"head.{name}": tensor for name, tensor in OutputLayer(8).state_dict().items()}
    rng = np.random.default_rng(3)
    codes = rng.dirichlet(np.ones(len(POI_CATEGORIES)), CODES)
    tensors = head | {"codebook": torch.from_numpy(codes).float()}
    checkpoints.save(directory / "planner", "planner", config, tensors, LABEL)
    planner = Planner(directory, PlannerConfig(), ComputeConfig())
    count = len(ROLES) * CODES
    shape = (count, PLAN_SLOTS)
    table = plan_table.PlanTable(
        planner.table(city.name).address,
        np.sort([r * plan_table.PLACES + c for r in range(len(ROLES)) for c in range(CODES)]),
        rng.dirichlet(np.ones(PLAN_SLOTS), shape).astype(np.float16),
        rng.dirichlet(np.ones(len(POI_CATEGORIES)), shape).astype(np.float16),
    )
    plan_table.write(table, directory / "planner" / plan_table.file_name(table.address))
