"""Measure the shipped chain models: ``python -m training.chain_results``.

Writes ``docs/results/data-fusion-chains.json`` and ``.md``: held-out survey persons against
generated and reconstructed days (DataFusion, Table 3), by raygen's chain decoder and by the paper's
slot network; weeks in several passes (6.1.3); adapters (Algorithm 2 and others), minutes of 12
groups against time use (Table 6).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig
from raygen.markov import fit_markov
from raygen.metrics import QUANTITIES, chain_divergences, recurring_share
from raygen.models.adapters import AdapterConfig, Adapters
from raygen.models.masks import MASKINGS, mask_by, paper_mask
from raygen.models.observed import MASK
from raygen.models.slot_network import SlotNetwork, SlotNetworkConfig, fill
from raygen.paper_tables import PAPER_TABLE_3, table_3, table_6
from raygen.results import Results, Row
from raygen.stages.chains import (
    DRAWS,
    UNKNOWN,
    ChainModels,
    complete_days,
    draw_days,
    load_chain_models,
    permitted,
)
from raygen.stages.passes import GENERATION_SHARE, WEEK, week_of_days
from raygen.survey import GROUP_ROWS
from raygen.taxonomy import DEMOGRAPHIC_GROUPS, SLOTS
from raygen.timeuse import DAY_KINDS, read_time_use
from training.adapter_results import (
    adapter_rows,
    distance_rows,
    group_rows,
    target_rows,
)
from training.chain_data import ChainData, DataSection, load_chains, people
from training.reconstruction import SLOT_MODEL

_TUESDAY = 1
_DAYS_EACH = 4
_MASKED = 0.7

_DATA = (
    "Česko v pohybu 2017–2019 (test split, 15 % of the persons); American Time Use Survey "
    "2003–2016, California"
)
_TABLE_3 = {
    "70 % masked": "Chain decoder, 70 % masked",
    "free generation": "Chain decoder, nothing observed",
    "slot network, 70 % masked, drawn": "Slot network (paper's), drawn",
    "slot network, 70 % masked, likeliest": "Slot network (paper's), likeliest",
}
_NOTES = [
    "JSD base 2 over the fixed bins of `raygen.metrics`; survey weights on both sides.",
    "Floor of the survey rows: the training persons' days against the test persons'. Floor of the "
    "minutes: two halves of the respondents. Target of masked rows: the paper's figure or twice "
    "the floor, whichever is higher.",
    "The paper's Table 3 is NHTS at 70 % masked, its Table 6 Los Angeles County; base and bins are "
    "not printed there.",
    "A masked day is completed given what was left of it (`oracle`); `free` knows home at both "
    "ends of the day alone.",
    "`target` of a row of minutes is D_g here: minutes away from home by type. The paper's `paper` "
    "column is its own D_g: it counts all eating as meals out and much leisure at home as "
    "recreation, where ours counts what was spent away from home (told by the travel codes), so "
    "home is longer and meals out shorter here. The rows `time use, counted anywhere` count as the "
    "paper does.",
    "Algorithm 2 and the log ratio are fitted to the slot network's mean probabilities and used "
    "on the chain decoder; the closed loop is fitted to generated days. `distance_mean` is Eq. "
    "10's ‖P_g − D_g‖ on the slot network: 1,000 rounds of Eq. 8 at the paper's rate of 0.01 move "
    "a type by at most ten times what its share is off, and stop far from δ = 0.01; 42 rounds of "
    "the log ratio reach it.",
]

Chains = npt.NDArray[np.int8]
Uniform = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Test persons of the survey, each ``_DAYS_EACH`` times, and their observed days."""

    observed: Chains
    people: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]

    @property
    def employed(self) -> npt.NDArray[np.bool_]:
        """Whether each is employed."""
        return self.people[:, 0] < len(DEMOGRAPHIC_GROUPS) // 2


def held_out(data: ChainData, split: str, repeats: int) -> HeldOut:
    """Return the persons of a split with weekdays, each repeated with another expansion."""
    rows = np.tile(data.survey.take(split), repeats)
    size = len(rows) // repeats
    observed = data.weekdays[np.arange(len(rows)) // size % len(data.weekdays), rows]
    return HeldOut(
        observed, people(data.survey)[rows], data.survey.row[rows], data.survey.weight[rows]
    )


def no_adapter(models: ChainModels) -> ChainModels:
    """Return the network alone: no adapter, nobody stays at home."""
    blank = Adapters(
        torch.zeros_like(models.adapters.shift), torch.zeros_like(models.adapters.stay_home)
    )
    return ChainModels(models.network, blank, models.device)


def masks(held: HeldOut) -> dict[str, npt.NDArray[np.bool_]]:
    """Return what is hidden of the observed days at 70 %: all three maskings, and each alone."""
    rng = seeds.stream(0, "chain-results-masks")
    found = {"70 % masked": paper_mask(held.observed, _MASKED, rng)}
    for masking in MASKINGS:
        draws = rng.random(held.observed.shape)
        found[f"70 % masked by {masking}"] = mask_by(masking, held.observed, _MASKED, draws)
    return found


def reconstructed(
    models: ChainModels, held: HeldOut, hidden: npt.NDArray[np.bool_], uniform: Uniform
) -> Chains:
    """Return the observed days, partly hidden and completed by the chain decoder."""
    days = np.where(hidden, np.int8(UNKNOWN), held.observed)
    return complete_days(models, days, held.people, np.full(len(days), _TUESDAY), uniform)


def filled(
    network: SlotNetwork, held: HeldOut, hidden: npt.NDArray[np.bool_], uniform: Uniform | None
) -> Chains:
    """Return the observed days, partly hidden and filled by the slot network in one pass."""
    tokens = torch.from_numpy(np.where(hidden, MASK, held.observed).astype(np.int64))
    shift = torch.from_numpy(permitted(held.people, held.employed)).float()
    draws = None if uniform is None else torch.from_numpy(uniform[:, :SLOTS])
    days: list[Chains] = []
    for part in np.array_split(np.arange(len(tokens)), max(1, len(tokens) // 2000)):
        rows = torch.from_numpy(part)
        day = torch.full((len(rows),), _TUESDAY)
        some = None if draws is None else draws[rows]
        with torch.inference_mode():
            done = fill(network, tokens[rows], day, shift[rows], some)
        days.append(done.numpy().astype(np.int8))
    return np.concatenate(days)


def survey_rows(data: ChainData, models: ChainModels, network: SlotNetwork) -> list[Row]:
    """Return the divergences of generated from observed days of the test persons."""
    test = held_out(data, "test", _DAYS_EACH)
    known = held_out(data, "train", len(data.weekdays))
    uniform = seeds.uniforms(0, "chain-results", np.arange(len(test.row)), DRAWS)
    plain = no_adapter(models)
    markov = fit_markov(known.observed, known.row, known.weight / len(data.weekdays), GROUP_ROWS)
    floor = chain_divergences(test.observed, known.observed, test.weight, known.weight)
    baseline = chain_divergences(
        test.observed, markov.sample(test.row, uniform[:, : SLOTS + 1]), test.weight, test.weight
    )
    free = draw_days(plain, test.people, test.employed, _TUESDAY, uniform)
    hidden = masks(test)
    blank = np.ones(test.observed.shape, bool)
    blank[:, [0, SLOTS - 1]] = False
    whole = hidden["70 % masked"]
    cases = {
        "free generation": free,
        "slot network, free generation": filled(network, test, blank, uniform),
        **{name: reconstructed(plain, test, hide, uniform) for name, hide in hidden.items()},
        "slot network, 70 % masked, drawn": filled(network, test, whole, uniform),
        "slot network, 70 % masked, likeliest": filled(network, test, whole, None),
    }
    rows: list[Row] = []
    for case, days in cases.items():
        found = chain_divergences(test.observed, days, test.weight, test.weight)
        for name in QUANTITIES:
            paper = PAPER_TABLE_3[name]
            rows.append(
                Row(
                    case=f"held-out survey, {case}", metric=f"{name}_jsd", value=found[name],
                    n=len(test.row) // _DAYS_EACH, floor=floor[name], baseline=baseline[name],
                    baseline_name="Markov by slot and group",
                    paper=paper if "masked" in case else None,
                    target=max(paper, 2 * floor[name]) if "masked" in case else None,
                    mode="oracle" if "masked" in case else "free",
                )
            )  # fmt: skip
    for case in ("70 % masked", "slot network, 70 % masked, likeliest"):
        right = (cases[case] == test.observed)[whole].mean()
        rows.append(
            Row(
                case=f"held-out survey, {case}", metric="hidden_slots_right", value=float(right),
                n=len(test.row) // _DAYS_EACH, mode="oracle",
            )
        )  # fmt: skip
    rows.append(
        Row(
            case="held-out survey, free generation", metric="share_of_days_in_training_set",
            value=recurring_share(free, known.observed), n=len(test.row),
            floor=recurring_share(test.observed, known.observed), mode="free",
        )
    )  # fmt: skip
    return rows


def pass_rows(data: ChainData, models: ChainModels) -> list[Row]:
    """Return what weeks in several passes keep of the observed day, and how they vary."""
    test = held_out(data, "test", 1)
    ids = np.arange(len(test.row))
    plain = no_adapter(models)
    rows: list[Row] = []
    for share in (_MASKED, GENERATION_SHARE):
        week = week_of_days(plain, test.observed, test.people, ids, 0, share)
        case = f"weeks in {WEEK} passes, {share:.0%} hidden"
        working = week[:, :5].reshape(-1, SLOTS)
        repeated = np.repeat(test.weight, 5)
        found = chain_divergences(test.observed, working, test.weight, repeated)
        rows += [
            Row(
                case=f"{case}, weekdays", metric=f"{name}_jsd", value=found[name], n=len(ids),
                paper=PAPER_TABLE_3[name], mode="oracle",
            )
            for name in QUANTITIES
        ]  # fmt: skip
        same = (week[:, :5] == test.observed[:, None]).mean()
        apart = np.mean([(week[:, a] != week[:, b]).mean() for a in range(5) for b in range(a)])
        rows.append(Row(case=case, metric="slots_as_observed", value=float(same), n=len(ids)))
        rows.append(
            Row(case=case, metric="slots_that_two_passes_differ_in", value=float(apart), n=len(ids))
        )
    return rows


def load_slots(weights: Path) -> SlotNetwork:
    """Load the slot network, in evaluation mode."""
    config, tensors, _ = checkpoints.load(weights, SLOT_MODEL, SlotNetworkConfig)
    network = SlotNetwork(config).eval()
    network.load_state_dict(tensors)
    return network


def main(arguments: list[str]) -> None:
    """Write the results; the first argument, if any, is the directory of the weights."""
    weights = Path(arguments[0]) if arguments else checkpoints.SHIPPED
    torch.set_num_threads(1)
    section = DataSection()
    data = load_chains(section, 1)
    models = load_chain_models(weights, ComputeConfig())
    _, table, _ = checkpoints.load(weights / "adapters", "adapters", AdapterConfig)
    halves = tuple(read_time_use(section.time_use, section.state, half) for half in (0, 1))
    network = load_slots(weights / SLOT_MODEL)
    rows = survey_rows(data, models, network) + pass_rows(data, models)
    rows += adapter_rows(data, models, table) + distance_rows(data, network, table, 1)
    for kind in range(len(DAY_KINDS)):
        rows += group_rows(data, models, halves, kind)
    rows += target_rows(data.time_use)
    cases = {f"held-out survey, {case}": name for case, name in _TABLE_3.items()}
    results = Results(
        name="data-fusion-chains",
        command="python -m training.chain_results",
        data=_DATA,
        rows=rows,
        tables=[
            table_3(rows, cases, "Česko v pohybu, 1,479 held-out persons"),
            *(table_6(rows, kind, _DATA) for kind in DAY_KINDS),
        ],
        notes=_NOTES,
    )
    path = results.write(Path("docs/results/data-fusion-chains.json"))
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
