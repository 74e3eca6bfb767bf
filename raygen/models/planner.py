"""The travel planner: answers plan states from its table, and asks its model for the rest.

UniMob, section 3.2. What is asked is the state (traveller, departure slot, place); what comes back
is the distribution over the next arrival's slot and over the destination's POI categories. The
language model is loaded at the first state that no table holds, and never without one. With
``llm = false`` a small network answers (``raygen.models.plan_distilled``).
"""

import hashlib
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen import checkpoints
from raygen.config import ComputeConfig, PlannerConfig
from raygen.errors import StageError, WeightsError
from raygen.models import plan_table, prompts
from raygen.models.codebook import Codebook
from raygen.models.language import cache_directory
from raygen.models.plan_distilled import (
    DISTILLED,
    DistilledArchitecture,
    DistilledModel,
    DistilledNet,
)
from raygen.models.plan_language import Asked, PlannerModel, load_planner_model
from raygen.models.plan_net import PlannerArchitecture
from raygen.models.plan_table import PLACES, Answer, IntArray, PlanTable
from raygen.models.prompts import TRAVELLERS

LOG = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

MODEL = "planner"

_HASHED = 12  # hexadecimal digits of PLACES


class Planner:
    """The planner of a run: a codebook, a table for each city, and a model on demand."""

    def __init__(self, weights: Path, config: PlannerConfig, compute: ComputeConfig) -> None:
        self.passes = 0
        """Forward passes of the model in this process."""
        self._config = config
        self._compute = compute
        self._folder = weights / (MODEL if config.llm else DISTILLED)
        kind = PlannerArchitecture if config.llm else DistilledArchitecture
        name = MODEL if config.llm else "distilled"
        self.architecture, self._tensors, self.digest = checkpoints.load(self._folder, name, kind)
        self.codebook = Codebook(self._tensors.pop("codebook").double().numpy())
        self._tables: dict[str, PlanTable] = {}
        self._told: dict[int, npt.NDArray[np.float64]] = {}
        self._model: PlannerModel | DistilledModel | None = None
        self._check()

    def table(self, city: str) -> PlanTable:
        """Return the table of a city's name: the shipped answers and those kept on this machine.

        ``city`` is the city's own name here and below; prompts may say another (``_said``).
        """
        said = self._said(city)
        if said not in self._tables:
            table = PlanTable(self._address(said))
            if self._config.llm:
                for folder in (self._folder, cache_directory() / "plans"):
                    _read_into(table, folder / plan_table.file_name(table.address))
            self._tables[said] = table
        return self._tables[said]

    @property
    def span(self) -> int:
        """Places that there can be: the codebook's, or all texts where they are not quantised."""
        return len(self.codebook.codes) if self._config.quantise else PLACES

    def places(self, distributions: npt.NDArray[np.floating]) -> IntArray:
        """Return the place of each POI distribution: what states and tables know it by.

        Parameters
        ----------
        distributions
            Shape (N, 14), rows sum to 1.

        Returns
        -------
        places
            Shape (N,), in 0 … ``span`` - 1: the nearest code; or, not quantised, a hash of the
            prompt's text, which is all that the language model sees of a place.
        """
        if self._config.quantise:
            return self.codebook.nearest(distributions)
        rows, inverse = np.unique(distributions.astype(np.float64), axis=0, return_inverse=True)
        return np.array([self._tell(row) for row in rows], np.int64)[inverse]

    def answers(
        self, city: str, traveller: IntArray, slot: IntArray, place: IntArray
    ) -> tuple[FloatArray, FloatArray, int]:
        """Answer plan states.

        Parameters
        ----------
        city
            Name of the city.
        traveller, slot, place
            Shape (N,): index into TRAVELLERS, departure slot 0 to 47, place (``places``).

        Returns
        -------
        arrivals, places, asked
            Probabilities of the next arrival's clock slot (N, 48) and of the destination's POI
            categories (N, 14); rows sum to 1. And how many distinct states no table held.

        Raises
        ------
        WeightsError
            If a state must be asked and the language model is missing or another one.
        """
        table = self.table(city)
        missing = ~table.holds(traveller, place)
        asked = 0
        if missing.any():
            states = np.unique(np.stack([traveller, place, slot])[:, missing], axis=1)
            asked = self._fill(self._said(city), table, states)
        return *table.answers(traveller, slot, place), asked

    def ask(self, city: str, asked: list[Asked]) -> list[Answer]:
        """Ask the model places, whatever the table holds, and keep nothing."""
        self.passes += len(asked)
        told = np.array([self._distribution(place) for _, place in asked])
        return list(self.model().ask(self._said(city), asked, told))

    def fill(self, city: str, path: Path, travellers: range) -> PlanTable:
        """Ask every code as some travellers and write the table to ``path``; minutes of use."""
        table = PlanTable(self._address(self._said(city)))
        codes = range(len(self.codebook.codes))
        table.put(self.ask(city, [(who, code) for who in travellers for code in codes]))
        plan_table.write(table, path)
        self._tables[self._said(city)] = table
        return table

    def unanswered(self, city: str) -> int:
        """Return how many states a run's template can meet that no table holds."""
        who = np.array(prompts.asked_as(self._config.template))
        codes = np.arange(len(self.codebook.codes))
        held = self.table(city).holds(np.repeat(who, len(codes)), np.tile(codes, len(who)))
        return int((~held).sum()) * prompts.PLAN_SLOTS

    def travellers(self, role: IntArray, group: IntArray) -> IntArray:
        """Return who persons are in the prompt, by the run's template, shape (N,)."""
        return prompts.travellers(self._config.template, role, group)

    def model(self) -> PlannerModel | DistilledModel:
        """Return the model, loaded at the first call."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def _said(self, city: str) -> str:
        """Return how prompts name a city."""
        return self._config.city_name or city

    def _fill(self, said: str, table: PlanTable, states: IntArray) -> int:
        """Ask the places of missing states (3, M) and keep the answers; return the states asked."""
        if not self._config.llm:
            table.put(self.ask(said, _groups(states)))
            return states.shape[1]
        kept = cache_directory() / "plans" / plan_table.file_name(table.address)
        with plan_table.locked(kept):
            _read_into(table, kept)  # what another actor asked meanwhile
            states = states[:, ~table.holds(states[0], states[1])]
            asked = _groups(states)
            if not asked:
                return 0
            LOG.info("planner: asking %d states of %d places", states.shape[1], len(asked))
            table.put(self.ask(said, asked))
            plan_table.write(table, kept)
        return states.shape[1]

    def _tell(self, row: npt.NDArray[np.float64]) -> int:
        """Return the hash of a place's text, and remember what it stands for."""
        text = prompts.place(row)
        place = int(hashlib.sha256(text.encode()).hexdigest()[:_HASHED], 16)
        if prompts.place(self._told.setdefault(place, row)) != text:
            msg = f"planner: two POI distributions have the hash {place:012x}"
            raise StageError(msg)
        return place

    def _distribution(self, place: int) -> npt.NDArray[np.float64]:
        return self.codebook.codes[place] if self._config.quantise else self._told[place]

    def _address(self, said: str) -> str:
        codes = self.codebook.codes if self._config.quantise else self.codebook.codes[:0]
        parts = {
            "weights": self.digest,
            "prompts": prompts.digest(said, codes),
            "codebook": self.codebook.digest if self._config.quantise else "",
            "dtype": self._config.dtype,
        }
        if isinstance(self.architecture, PlannerArchitecture):
            parts["base_model"] = self.architecture.base_digest
        return plan_table.address(parts)

    def _load(self) -> PlannerModel | DistilledModel:
        if isinstance(self.architecture, PlannerArchitecture):
            device = self._compute.device
            return load_planner_model(
                self._folder, self.architecture, self._tensors, self._config, device
            )
        net = DistilledNet(self.architecture)
        try:
            net.load_state_dict({n: t.float() for n, t in self._tensors.items()})
        except RuntimeError as error:
            msg = f"{self._folder}: weights do not fit the architecture: {error}"
            raise WeightsError(msg) from None
        return DistilledModel(net)

    def _check(self) -> None:
        known = self.architecture
        if isinstance(known, DistilledArchitecture) and known.travellers != TRAVELLERS:
            msg = f"{self._folder}: was fitted to other travellers than {list(TRAVELLERS)}; fit it "
            msg += "anew with `raygen train distilled`"
            raise WeightsError(msg)


def load_planner(weights: Path, config: PlannerConfig, compute: ComputeConfig) -> Planner:
    """Load the planner from a directory of weights.

    Parameters
    ----------
    weights
        Directory with one folder per model; the planner's is ``planner``, or
        ``planner-distilled`` where ``config.llm`` is false.
    config
        How it is asked.
    compute
        Device of the language model.

    Returns
    -------
    planner
        Without its model, which the first unanswered state loads.

    Raises
    ------
    WeightsError
        If the weights are missing, truncated or of another model.
    """
    return Planner(weights, config, compute)


def _groups(states: IntArray) -> list[Asked]:
    """Return the distinct (traveller, place) of states (3, M), travellers together."""
    return [(int(who), int(place)) for who, place in np.unique(states[:2], axis=1).T]


def _read_into(table: PlanTable, path: Path) -> None:
    if path.is_file():
        table.merge(plan_table.read(path, table.address))
