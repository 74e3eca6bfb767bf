"""Algorithm 1: semi-supervised transfer to a place of which only incomplete days are known.

DataFusion (Ma et al., arXiv:2503.15779, 4.2.2). A_0 = M^0(A_raw); then, time and again: M^n is
trained, from M^{n-1} on, on A_{n-1} with masking and on 20 % of the days of the iteration before,
with real slots weighed against synthetic ones (Eq. 4–6); A_n = M^n(A_raw), whose observed slots are
those of A_raw; J = JSD(A_raw, A_n), the mean of type, start and end, on days that no iteration
trains on. The model of the least J is kept. The paper finds it at the third or fourth iteration and
worse ones after: training on one's own output erodes what is rare.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor

from raygen import seeds
from raygen.config import Section
from raygen.models.chain_decoder import ChainDecoder
from raygen.models.slot_network import SlotNetwork
from raygen.stages.chains import DRAWS, UNKNOWN
from raygen.taxonomy import SLOTS
from raygen.transitions import COMPARED, transition_divergences
from training.partial_days import complete, fragments
from training.transfer_data import Target

log = logging.getLogger(__name__)

Chains = npt.NDArray[np.int8]
Network = ChainDecoder | SlotNetwork


class IterationSection(Section):
    """Algorithm 1's settings."""

    iterations: Annotated[int, Field(ge=1)] = 6
    """Most iterations (Table 4 has six)."""

    patience: Annotated[int, Field(ge=1)] = 2
    """Iterations without a lower J after which to stop."""

    hidden: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """Share of each day that is hidden to make A_raw of the target's days; 0 takes them as they
    are."""

    retained: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the days of the iteration before that are trained on again."""

    weights: tuple[float, float] = (0.7, 0.3)
    """w_l of observed slots and w_s of synthetic ones; the paper does not print them."""

    days: Annotated[int, Field(ge=1)] = 3000
    """Training days of A_raw that are used, at most."""

    thaw: bool = False
    """Whether the Transformer layers open by iteration as the paper did for Egypt (7.2)."""


@dataclass(frozen=True)
class RawDays:
    """A_raw: what is known of days."""

    train: Target
    validation: Target


@dataclass(frozen=True)
class Round:
    """What one iteration trains on."""

    number: int
    """n, from 1."""
    chains: Chains
    """A_{n-1} and what is retained of A_{n-2}, shape (D, 96)."""
    people: npt.NDArray[np.int64]
    """Shape (D, 3)."""
    real: npt.NDArray[np.bool_]
    """Which slots were observed, shape (D, 96)."""
    validation: Chains
    """The completed days of validation."""


@dataclass(frozen=True)
class Iterations:
    """What Algorithm 1 found."""

    best: int
    """n of the least J; 0 is the base model."""
    curve: list[dict[str, float]]
    """By n from 0 on: iteration, J, and the JSD of each of ``COMPARED`` on validation days."""
    decays: int | None
    """First n after the best whose J is higher: where recursion begins to decay, if it did."""


Fit = Callable[[Round, dict[str, Tensor]], dict[str, Tensor]]
"""From a round and the weights of M^{n-1} to those of M^n."""


def raw_days(targets: dict[str, Target], section: IterationSection, seed: int) -> RawDays:
    """Make A_raw of the target's days: the first ``days`` of training, and those of validation."""
    found: list[Target] = []
    for split in ("train", "validation"):
        target = targets[split]
        # Expansions of one person's day are the same day: only the first is used.
        whole = target.take(np.arange(min(target.persons, section.days)))
        found.append(hide(whole, section.hidden, seed, split))
    return RawDays(*found)


def hide(target: Target, share: float, seed: int, name: str) -> Target:
    """Return the target with a share of each day hidden; ``name`` names the draws."""
    if share == 0:
        return target
    uniform = seeds.uniforms(seed, f"fragments:{name}", np.arange(len(target.chains)), SLOTS)
    chains = fragments(target.chains, share, uniform)
    return Target(chains, target.people, target.row, target.persons, target.counted)


def recur(
    network: Network, raw: RawDays, section: IterationSection, fit: Fit, seed: int
) -> tuple[Iterations, list[dict[str, Tensor]]]:
    """Run Algorithm 1.

    Parameters
    ----------
    network
        M^0 in evaluation mode; holds M^n of the last iteration in the end.
    raw
        A_raw.
    section
        See ``IterationSection``.
    fit
        How M^n is trained.
    seed
        Root of the draws.

    Returns
    -------
    iterations, models
        What was found, and the weights of each M^n, from n = 0 on.
    """
    models = [_weights(network)]
    made, checked = _generate(network, raw, seed, 0)
    curve = [_row(raw.validation, checked, 0)]
    before = made[:0]
    while len(curve) <= section.iterations:
        number = len(curve)
        round_ = next_round(number, raw.train, (made, before, checked), section.retained, seed)
        models.append(fit(round_, models[-1]))
        network.load_state_dict(models[-1])
        before = made
        made, checked = _generate(network, raw, seed, number)
        curve.append(_row(raw.validation, checked, number))
        best = min(curve, key=lambda row: row["J"])
        log.info("iteration %d: J %.4f, least %.4f", number, curve[-1]["J"], best["J"])
        if number - best["iteration"] >= section.patience:
            break
    return found_in(curve), models


def found_in(curve: list[dict[str, float]]) -> Iterations:
    """Return the minimum of J and where it begins to rise after it."""
    best = min(range(len(curve)), key=lambda n: curve[n]["J"])
    worse = next((n for n in range(best + 1, len(curve)) if curve[n]["J"] > curve[best]["J"]), None)
    if worse is None:
        log.info("J was still falling at iteration %d", best)
    else:
        log.info("J is least at iteration %d; from %d on recursion decays", best, worse)
    return Iterations(best, curve, worse)


def next_round(
    number: int, raw: Target, days: tuple[Chains, Chains, Chains], retained: float, seed: int
) -> Round:
    """Return the days that M^n is trained on.

    Parameters
    ----------
    number
        n.
    raw
        A_raw of the training days.
    days
        A_{n-1}, A_{n-2} (none where n is 1) and the completed days of validation.
    retained
        Share of A_{n-2} that is kept.
    seed
        Root of the draw of those.
    """
    made, before, checked = days
    draw = seeds.stream(seed, "retained", number)
    kept = np.sort(draw.permutation(len(before))[: round(retained * len(before))])
    rows = np.concatenate([np.arange(len(made)), kept])
    return Round(
        number=number,
        chains=np.concatenate([made, before[kept]]),
        people=raw.people[rows],
        real=raw.chains[rows] != UNKNOWN,
        validation=checked,
    )


def _generate(network: Network, raw: RawDays, seed: int, number: int) -> tuple[Chains, Chains]:
    """Return M^n(A_raw) of the training and of the validation days."""
    found: list[Chains] = []
    for name, target in (("train", raw.train), ("validation", raw.validation)):
        ids = np.arange(len(target.chains))
        uniform = seeds.uniforms(seed, f"transfer:{name}:{number}", ids, DRAWS)
        found.append(complete(network, target.chains, target.people, uniform))
    return found[0], found[1]


def _row(raw: Target, made: Chains, number: int) -> dict[str, float]:
    found = transition_divergences(raw.chains, made, raw.counted)
    mean = float(np.mean([found[name] for name in COMPARED]))
    return {"iteration": float(number), "J": mean} | found


def _weights(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
