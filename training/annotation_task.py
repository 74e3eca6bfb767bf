"""The annotation adapter's training task: labelled names in batches of prompts of equal length.

As for the planner, the language model's lower layers are frozen and carry no LoRA: what they say of
the instruction and of each name is computed once (``write_activations``), and the training runs the
upper layers alone. The loss is the cross-entropy of the labels' likelihoods among the 15 types.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from raygen import seeds
from raygen.annotation import prompts
from raygen.annotation.model import AnnotationArchitecture, read_head
from raygen.annotation.scoring import batches
from raygen.errors import WeightsError
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.plan_net import PlannerArchitecture, add_lora, extend, fork, split
from training.annotation_data import Labelled

BATCH = 64
"""Most names of a batch."""


class AnnotationNet(nn.Module):
    """The upper layers with LoRA, and the rows of the vocabulary head that the labels have."""

    def __init__(self, upper: nn.Module, labels: Tensor) -> None:
        """Take the upper layers and the labels' rows of the head, shape (15, H)."""
        super().__init__()
        self.upper = upper
        self.labels: Tensor
        self.register_buffer("labels", labels, persistent=False)

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the labels' logits of a batch, shape (B, 15)."""
        cache = fork(None, 1)
        extend(self.upper, cache, batch["instruction"])
        names = batch["names"]
        hidden = extend(self.upper, fork(cache, len(names)), names)[:, -1]
        return F.linear(hidden, self.labels.to(hidden.dtype)).float()

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: cross-entropy in nats, scaled by the batch's share of a full one.

        Parameters
        ----------
        batch
            ``instruction`` (1, T, H) and ``names`` (B, T, H): the lower layers' output;
            ``target`` (B, 15): distributions.
        progress
            The training loop's; not used.
        """
        log_q = F.log_softmax(self.logits(batch), dim=-1)
        return {"total": -(batch["target"] * log_q).sum() / BATCH}


@dataclass(frozen=True)
class AnnotationTask:
    """A ``training.worker.Task``."""

    architecture: AnnotationArchitecture
    seed: int
    activations: Path
    """File of ``write_activations``, on a disk that every worker sees."""
    train: int
    """Batches to learn from."""
    validation: int
    """Batches held out."""

    def model(self) -> nn.Module:
        """Return the upper layers with LoRA."""
        base = self.architecture.base_model
        language = load_language_model(base, torch.float32, "cpu")
        labels = label_rows(language, read_head(language, base))
        upper = split(language.decoder, self.architecture.upper_layers)[1]
        # The planner's architecture holds what LoRA is drawn by.
        lora = PlannerArchitecture(rank=self.architecture.rank, alpha=self.architecture.alpha)
        return AnnotationNet(add_lora(upper, lora, self.seed), labels)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of a worker, in an order drawn for the epoch."""
        order = seeds.stream(self.seed, "annotation-batches", epoch).permutation(self.train)
        whole = self.train - self.train % world
        with safe_open(self.activations, framework="pt") as file:
            for index in order[:whole][rank::world].tolist():
                yield _batch(file, f"train.{index}")

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean cross-entropy and the share of right first types."""
        if not isinstance(model, AnnotationNet):
            msg = f"annotation: needs an AnnotationNet, got {type(model).__name__}"
            raise WeightsError(msg)
        device = model.labels.device
        loss, right, count = 0.0, 0, 0
        with safe_open(self.activations, framework="pt") as file:
            for index in range(self.validation):
                batch = {k: v.to(device) for k, v in _batch(file, f"validation.{index}").items()}
                logits = model.logits(batch)
                target = batch["target"]
                loss -= float((target * F.log_softmax(logits, dim=-1)).sum())
                right += int((logits.argmax(dim=1) == target.argmax(dim=1)).sum())
                count += len(target)
        return {"total": loss / count, "accuracy": right / count}


def label_rows(language: LanguageModel, head: Tensor) -> Tensor:
    """Return the head's rows of the labels, shape (15, H).

    Raises
    ------
    WeightsError
        If a label is not one token: the adapter's loss is on one.
    """
    ids = [language.tokens(label)[0] for label in prompts.LABELS]
    long = [word for word, row in zip(prompts.LABELS, ids, strict=True) if len(row) != 1]
    if long:
        msg = f"language model: its tokenizer must have each label as one token, has not {long}"
        raise WeightsError(msg)
    return head[torch.cat(ids)].detach().clone()


def write_activations(
    path: Path,
    language: LanguageModel,
    architecture: AnnotationArchitecture,
    parts: dict[str, Labelled],
) -> None:
    """Write the lower layers' output for the instruction and for batches of names.

    Parameters
    ----------
    path
        safetensors file, replaced: ``instruction``, and for each part ``PART.0.names``,
        ``PART.0.target`` and so on.
    language
        Whole language model.
    architecture
        Of the adapter.
    parts
        Labelled names, by the part's name.
    """
    lower = split(language.decoder, architecture.upper_layers)[0]
    trunk = fork(None, 1)
    shared = language.tokens(prompts.instruction(architecture.examples))
    with torch.no_grad():
        tensors = {"instruction": extend(lower, trunk, shared).bfloat16()}
        for part, labelled in parts.items():
            for index, batch in enumerate(batches(language, labelled.text, BATCH)):
                place = f"{part}.{index}"
                hidden = extend(lower, fork(trunk, len(batch.tokens)), batch.tokens)
                tensors[f"{place}.names"] = hidden.bfloat16()
                tensors[f"{place}.target"] = _float32(labelled.target[batch.index])
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.tmp")
    save_file(tensors, scratch)
    scratch.replace(path)


def count_batches(path: Path) -> Counter[str]:
    """Return how many batches of each part a file of ``write_activations`` has."""
    with safe_open(path, framework="pt") as file:
        return Counter(name.split(".")[0] for name in file.keys() if name.endswith(".target"))


def _float32(array: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _batch(file: safe_open, place: str) -> dict[str, Tensor]:
    return {
        "instruction": file.get_tensor("instruction").float(),
        "names": file.get_tensor(f"{place}.names").float(),
        "target": file.get_tensor(f"{place}.target"),
    }
