"""DECODE: latents → for each plan row a distribution over the city's zones. UniMob section 3.3.

A latent says what the region is like as a whole; the semantic plan D says which of its POIs is
wanted. Both count (ours, not the paper's), by Bayes with c drawn from D:

    P(r | z, D) ∝ P_decoder(r | z) · Σ_c D_c · P(c | r) / P(c)
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from raygen import schema
from raygen.city import City
from raygen.errors import DataError
from raygen.models.spatial import Decoder
from raygen.stages.denoise import plan_column
from raygen.taxonomy import POI_CATEGORIES

FloatArray = npt.NDArray[np.float32]

KEPT = 32
"""Zones kept of a distribution."""

_CHUNK = 128  # rows decoded at once: their region weights fit the cache of a core
_LIFT_FLOOR = 1e-4  # keeps a sum where no probable region has the wanted category
_MIXED = 1e-3  # share of the uniform distribution over zones: keeps every log probability finite


def decode(latents: FloatArray, plans: pa.Table, decoder: Decoder, city: City) -> pa.Table:
    """Decode latents to zone priors.

    Parameters
    ----------
    latents
        Shape (A, D), as ``denoise`` returns them.
    plans
        Table of schema PLANS, A rows.
    decoder
        Of this city.
    city
        The city.

    Returns
    -------
    priors
        Table of schema PRIORS, A rows in order. Rows of sequence 0, which nothing reads, hold
        the prior of the mean latent.

    Raises
    ------
    DataError
        If there is not one latent of the decoder's width for each plan row.
    """
    if latents.shape != (plans.num_rows, decoder.network.config.latent):
        msg = f"decode: latents must be ({plans.num_rows}, {decoder.network.config.latent}), "
        msg += f"got {latents.shape}"
        raise DataError(msg)
    zones = np.full((len(latents), KEPT), -1, dtype=np.int32)
    log_p = np.zeros((len(latents), KEPT), dtype=np.float32)
    floor = np.zeros(len(latents), dtype=np.float32)
    semantic = semantic_plans(plans)
    rows = np.flatnonzero(plans.column("sequence").to_numpy() > 0)
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        found = zone_probability(latents[part], semantic[part], decoder)
        zones[part], log_p[part], floor[part] = _top(found)
    rest = np.flatnonzero(plans.column("sequence").to_numpy() == 0)
    if len(rest):
        mean = np.zeros((1, latents.shape[1]), dtype=np.float32)
        even = np.full((1, semantic.shape[1]), 1.0 / semantic.shape[1], dtype=np.float32)
        zones[rest], log_p[rest], floor[rest] = _top(zone_probability(mean, even, decoder))
    lists = [
        pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), KEPT)
        for values in (zones, log_p)
    ]
    return pa.Table.from_arrays([*lists, pa.array(floor)], schema=schema.PRIORS)


def semantic_plans(plans: pa.Table) -> FloatArray:
    """Return D of each plan row, shape (A, 14)."""
    return plan_column(plans, "semantic_plan", len(POI_CATEGORIES)).copy()  # Arrow's is read-only


def zone_probability(latents: FloatArray, semantic: FloatArray, decoder: Decoder) -> FloatArray:
    """Return P(zone) of each latent (N, D) and semantic plan (N, 14), shape (N, Z)."""
    region_RN = _region_probability(latents, semantic, decoder)
    zone_NZ = np.ascontiguousarray((decoder.shares @ region_RN).T)
    return zone_NZ * np.float32(1.0 - _MIXED) + np.float32(_MIXED / zone_NZ.shape[1])


def region_probability(latents: FloatArray, semantic: FloatArray, decoder: Decoder) -> FloatArray:
    """Return P(region) of each latent (N, D) and semantic plan (N, 14), shape (N, R)."""
    return np.ascontiguousarray(_region_probability(latents, semantic, decoder).T)


def _region_probability(latents: FloatArray, semantic: FloatArray, decoder: Decoder) -> FloatArray:
    """Return P(region) with regions by rows, so that sums over them run along the latents."""
    network = decoder.network
    device = network.regions.weight.device
    lift = torch.from_numpy(decoder.lift).to(device)
    with torch.inference_mode():
        features_DN = network.features(torch.from_numpy(latents).to(device)).T
        logits_RN = torch.addmm(network.regions.bias[:, None], network.regions.weight, features_DN)
        weight_RN = (logits_RN - logits_RN.amax(dim=0)).exp_()
        weight_RN *= (lift @ torch.from_numpy(semantic).to(device).T) + _LIFT_FLOOR
        weight_RN /= weight_RN.sum(dim=0)
        return weight_RN.float().cpu().numpy()


def _top(
    probability: FloatArray,
) -> tuple[npt.NDArray[np.int32], FloatArray, FloatArray]:
    """Return the most probable zones, their log probabilities and that of any other zone."""
    count, zones = probability.shape
    kept = min(KEPT, zones)
    value, column = torch.from_numpy(probability).topk(kept, dim=1)
    rest = np.maximum(1.0 - value.sum(dim=1).numpy(), 0.0) / max(zones - kept, 1)
    floor = np.log(np.maximum(rest, _MIXED / zones)).astype(np.float32)
    zone = np.full((count, KEPT), -1, dtype=np.int32)
    log_p = np.repeat(floor[:, None], KEPT, axis=1)
    zone[:, :kept], log_p[:, :kept] = column.numpy(), np.log(value.numpy())
    return zone, log_p, floor
