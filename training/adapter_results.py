"""How near generated days of the 12 groups come to time use; part of ``training.chain_results``."""

import numpy as np
import numpy.typing as npt
import torch

from raygen import seeds
from raygen.evaluation import minutes_rows, stay_home_rows
from raygen.metrics import chain_divergences, jsd, minutes_by_type
from raygen.models.adapters import Adapters
from raygen.models.slot_network import SlotNetwork
from raygen.paper_tables import PAPER_TABLE_6, PAPER_TYPES
from raygen.results import Row
from raygen.stages.chains import DRAWS, ChainModels, draw_days
from raygen.taxonomy import ACTIVITY_TYPES, DEMOGRAPHIC_GROUPS, HOME
from raygen.timeuse import TimeUse
from training.adapters import group_of, masked_logits
from training.chain_data import WEEKDAY, ChainData

_TUESDAY, _SATURDAY = 1, 5
_GROUP_DAYS = 2000
_DAY_MIN = 1440.0


def group_rows(
    data: ChainData, models: ChainModels, halves: tuple[TimeUse, ...], kind: int
) -> list[Row]:
    """Return minutes and stay-at-home shares of the 12 groups on one kind of day."""
    pool = data.pool("train")
    week_day = _TUESDAY if kind == WEEKDAY else _SATURDAY
    groups = [
        group_of(data, pool, row, kind, _GROUP_DAYS) for row in range(len(DEMOGRAPHIC_GROUPS))
    ]
    who = np.concatenate([group.people for group in groups])
    employed = np.concatenate([group.employed for group in groups])
    row = np.repeat([group.row for group in groups], _GROUP_DAYS)
    uniform = seeds.uniforms(0, f"chain-results-groups:{kind}", np.arange(len(who)), DRAWS)
    days = draw_days(models, who, employed, week_day, uniform)
    rows = minutes_rows(days, row, kind, data.time_use, halves)
    return rows + stay_home_rows(days, row, kind, data.time_use)


def adapter_rows(data: ChainData, models: ChainModels, table: dict[str, torch.Tensor]) -> list[Row]:
    """Return how near generated weekdays of the groups come to D_g with each adapter."""
    pool = data.pool("train")
    groups = [group_of(data, pool, row, WEEKDAY, 1000) for row in range(len(DEMOGRAPHIC_GROUPS))]
    who = np.concatenate([group.people for group in groups])
    employed = np.concatenate([group.employed for group in groups])
    uniform = seeds.uniforms(0, "chain-results-adapters", np.arange(len(who)), DRAWS)
    shifts = {
        "no adapter": torch.zeros_like(models.adapters.shift),
        "Algorithm 2": table["shift_algorithm_2"],
        "log ratio": table["shift_log_ratio"],
        "closed loop": table["shift_closed_loop"],
    }
    paper = np.array([figure for figure, _ in PAPER_TABLE_6.values()])
    rows: list[Row] = []
    for name, shift in shifts.items():
        variant = ChainModels(
            models.network, Adapters(shift, models.adapters.stay_home), models.device
        )
        days = draw_days(variant, who, employed, _TUESDAY, uniform)
        each = np.array(
            [
                jsd(data.time_use.minutes[WEEKDAY, g], minutes_by_type(part))
                for g, part in enumerate(np.split(days, len(groups)))
            ]
        )
        hours = [
            chain_divergences(_survey_of(data, g), part[(part != HOME).any(1)])["start_time"]
            for g, part in enumerate(np.split(days, len(groups)))
        ]
        rows += [
            Row(
                case=f"12 groups, weekday, {name}", metric=metric, value=float(value), n=len(who),
                paper=figure, target=target, mode="free",
            )
            for metric, value, figure, target in (
                ("minutes_jsd_mean", each.mean(), float(paper.mean()), 0.010),
                ("minutes_jsd_worst", each.max(), float(paper.max()), 0.0185),
                ("start_time_jsd_mean", np.mean(hours), None, None),
            )
        ]  # fmt: skip
    return rows


def distance_rows(
    data: ChainData, network: SlotNetwork, table: dict[str, torch.Tensor], seed: int
) -> list[Row]:
    """Return Eq. 10's ‖P_g - D_g‖ on the slot network's answers, mean over the groups' weekdays."""
    pool = data.pool("train")
    groups = [group_of(data, pool, row, WEEKDAY, 100) for row in range(len(DEMOGRAPHIC_GROUPS))]
    shifts = {
        "no adapter": torch.zeros_like(table["shift_algorithm_2"]),
        "Algorithm 2": table["shift_algorithm_2"],
        "log ratio": table["shift_log_ratio"],
    }
    found: dict[str, list[float]] = {name: [] for name in shifts}
    for group in groups:
        logits = masked_logits(network, pool, group, seed).flatten(0, 1).double()
        for name, shift in shifts.items():
            shares = torch.softmax(logits + shift[WEEKDAY, group.row, 0].double(), -1).mean(0)
            apart = shares.numpy() - group.target / _DAY_MIN
            found[name].append(float(np.linalg.norm(apart)))
    return [
        Row(
            case=f"12 groups, weekday, slot network, {name}", metric="distance_mean",
            value=float(np.mean(values)), n=len(groups), target=0.01,
        )
        for name, values in found.items()
    ]  # fmt: skip


def _survey_of(data: ChainData, group: int) -> npt.NDArray[np.int8]:
    """Return the observed weekdays of a group, all splits, one expansion."""
    return data.weekdays[0, data.survey.row == group]


def target_rows(time_use: TimeUse) -> list[Row]:
    """Return our time use beside the paper's Table 6, minutes counted wherever they were spent."""
    days = np.array([5, 2]) / 7
    anywhere = np.tensordot(days, time_use.minutes_anywhere, axes=1)
    rows: list[Row] = []
    for group, name in enumerate(DEMOGRAPHIC_GROUPS):
        case, printed = f"{name}, time use, counted anywhere", PAPER_TABLE_6[name][1]
        ours = anywhere[group, list(PAPER_TYPES)]
        rows += [
            Row(
                case=case, metric=f"minutes_{ACTIVITY_TYPES[kind]}", value=float(minutes),
                n=int(time_use.respondents[:, group].sum()), paper=paper,
            )
            for kind, minutes, paper in zip(PAPER_TYPES, ours, printed, strict=True)
        ]  # fmt: skip
        left = [
            np.append(part, max(0.0, _DAY_MIN - part.sum())) for part in (ours, np.array(printed))
        ]
        rows.append(
            Row(
                case=case, metric="jsd_with_paper", value=jsd(left[1], left[0]),
                n=int(time_use.respondents[:, group].sum()),
            )
        )  # fmt: skip
    return rows
