"""Measure what planning costs: ``python tests/bench/planner.py [--agents 10000 100000 1000000]``.

For each number of agents: their chains are drawn, every arrival is planned, a shard at a time, and
counted are the arrivals, the distinct plan states, and the forward passes that a planner with an
empty table makes for them (one for each place and traveller). Seconds of the language model: passes
times the time of a pass, measured here on ``--passes`` of them. Then, for a few persons, what the
table, the shared prefix and the codes change: plans from the table against plans from a whole
prompt for each arrival, and plans of quantised places against plans of places as they are.
Writes docs/results/planner-cost.json and .md. With ``--parts DIR --part I N`` a process plans one of
N parts of the shards, and the command with ``--parts DIR`` alone puts the parts together.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# This file's own folder would hide packages of its files' names.
sys.path.remove(str(Path(__file__).parent))

from raygen import checkpoints
from raygen.city import City, open_city
from raygen.config import ChainConfig, ComputeConfig, PlannerConfig
from raygen.models.codebook import jsd
from raygen.models.plan_table import PLACES
from raygen.models.planner import Planner, load_planner
from raygen.pipeline import CACHE
from raygen.population.cache import load_or_fit
from raygen.population.fit import PopulationFit
from raygen.population.sample import sample_index
from raygen.results import Results, Row
from raygen.stages.chains import day_chains, load_chain_models
from raygen.stages.plan import PlanResult, travel_plans
from raygen.stages.populate import populate
from raygen.taxonomy import PLAN_SLOTS

Shard = tuple[pa.Table, pa.Table, npt.NDArray[np.int8]]

SHARD_PERSONS = 2500
CITY = "los_angeles"
SEED = 1
NAIVE_PROMPTS = 12

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Speed = tuple[float, float]
_LEAST_SAVING = 100.0  # passes spared for each pass at the largest number of agents


@dataclass(frozen=True)
class World:
    """What plans are made from."""

    city: City
    fit: PopulationFit
    weights: Path

    def shards(self, agents: int, part: int = 0, parts: int = 1) -> Iterator[Shard]:
        """Yield households, persons and chains of a sample of agents, a shard at a time."""
        index = sample_index(self.fit, agents, SEED, SHARD_PERSONS)
        models = load_chain_models(self.weights, ComputeConfig())
        for shard in range(part, index.shards, parts):
            households, persons = populate(self.fit, index, shard, self.city, SEED)
            yield households, persons, day_chains(persons, 0, models, ChainConfig(), SEED)


class WholePrompts:
    """A planner as the paper has it: a whole prompt for every question, nothing kept."""

    def __init__(self, planner: Planner) -> None:
        self.span = PLACES
        self.asked = 0
        self._planner = planner
        self._told: list[npt.NDArray[np.float64]] = []

    def travellers(self, role: Ints, group: Ints) -> Ints:
        """Return who persons are."""
        return self._planner.travellers(role, group)

    def places(self, distributions: Floats) -> Ints:
        """Return a new place for each distribution."""
        self._told.extend(distributions.astype(np.float64))
        return np.arange(len(self._told) - len(distributions), len(self._told))

    def answers(
        self, city: str, traveller: Ints, slot: Ints, place: Ints
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int]:
        """Ask each state alone."""
        del city
        found = [
            self._planner.model().ask_alone("a city", int(who), int(s), self._told[int(where)])
            for who, s, where in zip(traveller, slot, place, strict=True)
        ]
        self.asked += len(found)
        return np.stack([f[0] for f in found]), np.stack([f[1] for f in found]), len(found)


@dataclass
class Count:
    """What was planned of a sample of agents, or of a part of it."""

    states: Ints
    arrivals: int = 0
    persons: int = 0
    plan_s: float = 0.0

    def __add__(self, other: "Count") -> "Count":
        """Return both parts together."""
        return Count(
            np.union1d(self.states, other.states),
            self.arrivals + other.arrivals,
            self.persons + other.persons,
            self.plan_s + other.plan_s,
        )


def planned(world: World, planner: Planner, agents: int, part: int, parts: int) -> Count:
    """Plan everyone of a part of a sample."""
    count = Count(np.empty(0, np.int64))
    for households, people, chains in world.shards(agents, part, parts):
        begun = time.process_time()
        result = travel_plans(people, households, chains, 0, world.city, planner)
        spent = time.process_time() - begun
        count += Count(result.states, result.arrivals, people.num_rows, spent)
    return count


def write_part(folder: Path, name: str, count: Count) -> None:
    """Keep a part for the process that puts them together."""
    folder.mkdir(parents=True, exist_ok=True)
    told = [count.arrivals, count.persons, count.plan_s, peak_gb()]
    np.savez(folder / f".{name}.npz", states=count.states, told=told)
    (folder / f".{name}.npz").replace(folder / f"{name}.npz")


def read_parts(folder: Path, agents: int) -> tuple[Count, float]:
    """Return all parts of a size together, and the largest memory of their processes."""
    count, peak = Count(np.empty(0, np.int64)), 0.0
    for path in sorted(folder.glob(f"plans-{agents}-*.npz")):
        with np.load(path) as part:
            arrivals, persons, plan_s, memory = part["told"].tolist()
            count += Count(part["states"], int(arrivals), int(persons), plan_s)
            peak = max(peak, memory)
    return count, peak


def peak_gb() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def cost_rows(agents: int, span: int, measured: tuple[Count, float], times: Speed) -> list[Row]:
    """Return the rows of one size."""
    (count, peak), (pass_s, alone_s) = measured, times
    states, arrivals, persons, plan_s = count.states, count.arrivals, count.persons, count.plan_s
    passes = len(np.unique(states // (PLAN_SLOTS * span) * span + states % span))
    case = f"{agents:,} agents"
    saving = arrivals / passes
    return [
        Row(case=case, metric="persons", value=persons, n=persons),
        Row(case=case, metric="arrivals", value=arrivals, n=persons),
        Row(case=case, metric="plan_states", value=len(states), n=persons),
        Row(
            case=case,
            metric="forward_passes",
            value=passes,
            n=persons,
            baseline=arrivals,
            baseline_name="one for each arrival",
        ),
        Row(
            case=case,
            metric="arrivals_per_pass",
            value=saving,
            n=persons,
            target=_LEAST_SAVING if agents == 1_000_000 else None,
        ),
        Row(
            case=case,
            metric="llm_cpu_s",
            value=passes * pass_s,
            n=persons,
            baseline=arrivals * alone_s,
            baseline_name="a whole prompt for each arrival",
        ),
        Row(case=case, metric="persons_planned_per_cpu_s", value=persons / plan_s, n=persons),
        Row(case=case, metric="plan_cpu_s", value=plan_s, n=persons),
        Row(
            case=case,
            metric="peak_memory_gb",
            value=peak,
            n=persons,
        ),
    ]


def speed(planner: Planner, passes: int) -> Speed:
    """Return CPU-seconds of a pass over a place's 48 states, and of a whole prompt."""
    codes = len(planner.codebook.codes)
    asked = [(index % 6, (7 * index) % codes) for index in range(passes)]
    planner.ask(CITY, asked[:1])
    begun = time.process_time()
    planner.ask(CITY, sorted(asked))
    pass_s = (time.process_time() - begun) / passes
    begun = time.process_time()
    for index in range(NAIVE_PROMPTS):
        place = planner.codebook.codes[index]
        planner.model().ask_alone("a city", index % 6, index, place)
    return pass_s, (time.process_time() - begun) / NAIVE_PROMPTS


def change_rows(world: World, persons: int) -> list[Row]:
    """Return how plans differ: the table's from whole prompts', and coded places' from exact."""
    households, people, chains = next(world.shards(10_000))
    people, chains = people.slice(0, persons), chains[:persons]
    made: dict[str, PlanResult] = {}
    for name, quantise in (("coded", True), ("exact", False)):
        config = PlannerConfig(quantise=quantise, dtype="float32")
        planner = load_planner(world.weights, config, ComputeConfig())
        made[name] = travel_plans(people, households, chains, 0, world.city, planner)
        if not quantise:
            made["again"] = travel_plans(people, households, chains, 0, world.city, planner)
            whole = WholePrompts(planner)
            made["whole"] = travel_plans(people, households, chains, 0, world.city, whole)  # pyright: ignore[reportArgumentType]
    rows: list[Row] = []
    for case, one, other in (
        ("asked, against the table afterwards", "exact", "again"),
        ("table, against a whole prompt for each arrival", "exact", "whole"),
        ("coded places, against places as they are", "coded", "exact"),
    ):
        rows += difference_rows(case, made[one], made[other])
    return rows


def difference_rows(case: str, one: PlanResult, other: PlanResult) -> list[Row]:
    """Return JSDs of M and D of the arrivals, and the share with the same likeliest entry."""
    rows: list[Row] = []
    later = np.asarray(one.plans.column("sequence")) > 0
    for name, column in (("M", "temporal_plan"), ("D", "semantic_plan")):
        mine, theirs = (
            np.stack(pa.table(part.plans).column(column).to_numpy())[later].astype(np.float64)
            for part in (one, other)
        )
        gap = jsd(mine, theirs)
        same = float((mine.argmax(axis=1) == theirs.argmax(axis=1)).mean())
        count = int(later.sum())
        rows += [
            Row(case=case, metric=f"{name}_jsd", value=float(gap.mean()), n=count),
            Row(case=case, metric=f"{name}_jsd_p95", value=float(np.quantile(gap, 0.95)), n=count),
            Row(case=case, metric=f"{name}_same_argmax", value=same, n=count),
            Row(
                case=case,
                metric=f"{name}_largest_gap",
                value=float(np.abs(mine - theirs).max()),
                n=count,
            ),
        ]
    return rows


def main(arguments: list[str]) -> int:
    """Write the results and print where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--persons", type=int, default=16)
    parser.add_argument("--weights", type=Path, default=checkpoints.SHIPPED)
    parser.add_argument("--part", type=int, nargs=2, help="plan only this part, of so many")
    parser.add_argument("--parts", type=Path, help="folder of the parts")
    parser.add_argument("--output", type=Path, default=Path("docs/results/planner-cost.json"))
    given = parser.parse_args(arguments)
    city = open_city(CITY)
    world = World(city, load_or_fit(city, SEED, CACHE), given.weights)
    planner = load_planner(given.weights, PlannerConfig(), ComputeConfig())
    if given.part:
        for agents in given.agents:
            name = f"plans-{agents}-{given.part[0]}-{given.part[1]}"
            write_part(given.parts, name, planned(world, planner, agents, *given.part))
        return 0
    times = speed(planner, given.passes)
    rows = [
        Row(case="language model", metric="cpu_s_per_pass", value=times[0], n=given.passes),
        Row(case="language model", metric="states_per_cpu_s", value=PLAN_SLOTS / times[0]),
        Row(
            case="language model", metric="cpu_s_per_whole_prompt", value=times[1], n=NAIVE_PROMPTS
        ),
    ]
    changes = change_rows(world, given.persons)
    for agents in given.agents:
        if given.parts:
            found = read_parts(given.parts, agents)
        else:
            found = planned(world, planner, agents, 0, 1), peak_gb()
        rows += cost_rows(agents, planner.span, found, times)
    path = Results(
        name="planner-cost",
        command="python tests/bench/planner.py",
        data="Los Angeles County, synthesised population; chains drawn, a day of each person, "
        "households not joined; shipped weights, template `role`",
        rows=rows + changes,
        notes=[
            "forward_passes: of the language model, for a planner whose table is empty at the start: "
            "a pass answers a place as one traveller for all 48 departure slots. With the shipped "
            "table there are none.",
            "Forward passes hardly grow with the persons, as there are at most 6 x 64 places; plan "
            "states are counted beside them. peak_memory_gb is of the process, or with `--parts` of "
            "the largest one.",
            "llm_cpu_s: passes times the measured time of a pass on one thread, bfloat16.",
            "M and D differences are of the plans after the fusion with the chains, JSD base 2, over "
            "the arrivals of some persons, in float32. same_argmax: share of arrivals with the same "
            "likeliest slot or category. A table keeps float16: the largest gap to a whole prompt is of its rounding.",
        ],
    ).write(given.output)
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
