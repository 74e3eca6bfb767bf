"""Measure how fast a trajectory language model answers: ``python tests/bench/trajectory_language.py``.

The same questions (trips simulated on Porto's roads), the same draws, SmolLM2 as it comes: padded
batches in the questions' order, padded batches of like lengths, and continuous batching over slots,
in turn in one process on one thread. Ratios are of the same run. Then continuous batching in
bfloat16. Writes docs/results/trajectory-language-speed.json and .md.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

# This file's own folder would hide packages of its files' names.
sys.path.remove(str(Path(__file__).parent))

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, SpeakerConfig
from raygen.models.language import load_language_model
from raygen.models.trajectory_fitted import ready
from raygen.models.trajectory_language import (
    Said,
    TrajectoryLanguage,
    TrajectoryLanguageConfig,
)
from raygen.models.trajectory_model import load_codec
from raygen.models.trajectory_padded import answer
from raygen.models.trajectory_planner import MOST_POINTS
from raygen.models.trajectory_questions import Question
from raygen.models.trajectory_speaker import Speaker
from raygen.models.trajectory_words import known_of
from raygen.network.graph import IntArray
from raygen.results import Results, Row
from training.codec_data import TrajectorySources, simulated
from training.trajectory_pairs import conditions_told

ROADS = "data/porto/roads.csv"
Asked = tuple[list[Question], np.ndarray, IntArray]


def speaker_on(dtype: str, slots: int) -> tuple[Speaker, Asked, int]:
    """Return SmolLM2 with new words of Porto's roads, questions, draws and lengths."""
    trips = simulated(
        ROADS, TrajectorySources(networks=(ROADS,), simulated=200, intervals=(15.0,)), 1
    )
    codec, digest = load_codec(checkpoints.SHIPPED / "trajectories" / "codec")
    language = load_language_model("smollm2", torch.float32, "cpu")
    config = TrajectoryLanguageConfig(
        roads=trips.roads.segments, codebooks=codec.config.codebooks, codec_digest=digest
    )
    model = TrajectoryLanguage(config, language, 1, known_of(trips.roads, codec))
    how = SpeakerConfig.model_validate({"dtype": dtype, "slots": slots})
    speaker = ready(model, language, how, ComputeConfig())
    told = conditions_told(trips.made, trips.roads)
    uniform = seeds.uniforms(1, "bench", np.arange(len(told)), speaker.draws)
    points = np.clip(told.points, 20, MOST_POINTS)
    return speaker, (speaker.questions(trips.roads.network, told), uniform, points), len(told)


def padded(speaker: Speaker, asked: Asked, order: IntArray, batch: int) -> list[Said]:
    """Answer in padded batches of an order."""
    questions, uniform, points = asked
    parts = [order[at : at + batch] for at in range(0, len(order), batch)]
    return [
        answer(
            speaker.model, [questions[row] for row in part.tolist()], uniform[part], points[part]
        )
        for part in parts
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trips", type=int, default=24)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    speaker, (questions, uniform, points), _ = speaker_on("float32", options.slots)
    count = min(options.trips, len(questions))
    asked = questions[:count], uniform[:count], points[:count]
    rows_of = np.arange(count)
    alike = np.argsort(asked[2], kind="stable")
    ways: dict[str, Callable[[], list[Said]]] = {
        "padded batches": lambda: padded(speaker, asked, rows_of, options.slots),
        "padded batches of like lengths": lambda: padded(speaker, asked, alike, options.slots),
        "continuous batching": lambda: [speaker.answers(*asked)],
    }
    answer(speaker.model, asked[0][:2], asked[1][:2], asked[2][:2])  # warms up
    rows: list[Row] = []
    first = 0.0
    for name, way in ways.items():
        begun = time.process_time()
        said = way()
        spent = time.process_time() - begun
        first = first or spent
        rows += figures(f"float32: {name}", said, spent, count)
        rows.append(Row(case=f"float32: {name}", metric="speed over padded batches",
                        value=first / spent, n=count))  # fmt: skip
        sys.stdout.write(f"{name}: {spent:.1f} CPU s\n")
        sys.stdout.flush()
    one = speaker.answers(*asked).patterns.codes
    other = replace(speaker, slots=2).answers(*asked).patterns.codes
    half = ready(speaker.model, speaker.language,
                 SpeakerConfig(dtype="bfloat16", slots=options.slots), ComputeConfig())  # fmt: skip
    begun = time.process_time()
    said = [half.answers(*asked)]
    spent = time.process_time() - begun
    rows += figures("bfloat16: continuous batching", said, spent, count)
    there = np.arange(one.shape[1]) < ((asked[2] + 7) // 8)[:, None]
    rows += [
        Row(case="float32: two slots against all", metric="codes that are the same",
            value=float((one == other)[there].mean()), n=int(there.sum() * 4)),
        Row(case="bfloat16 against float32", metric="codes that are the same",
            value=float((one == said[0].patterns.codes)[there].mean()), n=int(there.sum() * 4)),
    ]  # fmt: skip
    result = Results(
        "trajectory-language-speed",
        f"python tests/bench/trajectory_language.py --trips {count} --slots {options.slots}",
        "trips simulated on Porto's roads: synthesised",
        rows,
        ["SmolLM2-135M, one thread; CPU seconds of the process. Ratios are of one run."],
    )
    sys.stdout.write(f"{result.write(options.output / 'trajectory-language-speed.json')}\n")


def figures(case: str, said: list[Said], spent: float, count: int) -> list[Row]:
    """Return the speeds of a way to answer."""
    values = {
        "trajectories a CPU-second": count / spent,
        "prompt tokens a CPU-second": sum(one.prompt_tokens for one in said)
        / sum(one.prompt_s for one in said),
        "answer tokens a CPU-second": sum(one.answer_tokens for one in said)
        / sum(one.answer_s for one in said),
        "share of the time in prompts": sum(one.prompt_s for one in said) / spent,
    }
    return [Row(case=case, metric=name, value=value, n=count) for name, value in values.items()]


if __name__ == "__main__":
    main()
