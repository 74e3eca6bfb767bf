"""DataFusion's reconstruction: a masked day chain in, a distribution over types per slot out.

The network of Ma et al. (arXiv:2503.15779, 4.1.2, Fig. 3): a Transformer encoder over the 96 masked
quarter hours, a decoder whose queries are the slots with their time segment and the day of the
week, and an MLP; trained on masked chains with 0.7 cross-entropy (weighted by class) + 0.15
transition loss (Eq. 3) + 0.15 dynamic time warping. It knows no person: that is the adapters'
business. The paper does not print its sizes.

All slots of a day are filled in one pass, each from its own distribution. ``raygen.models.
chain_decoder`` is the network that raygen generates with; this one is the paper's, for comparison
and for Algorithm 2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raygen.config import Section
from raygen.models.chain_sampling import draw
from raygen.models.observed import MASK, TYPES
from raygen.models.warping import warping_loss
from raygen.taxonomy import SLOTS

# B = batch, L = 96 slots, C = activity types, E = width

SEGMENT_SLOTS = 12
"""Slots of a time segment: the day has eight of three hours."""


class SlotNetworkConfig(Section):
    """Sizes of the network."""

    width: int = 64
    """Embedding width E."""

    encoder_layers: int = 2
    decoder_layers: int = 2
    heads: int = 4
    feedforward: int = 128
    dropout: float = 0.1


PRESETS = {
    "small": SlotNetworkConfig(),
    "paper": SlotNetworkConfig(
        width=256, encoder_layers=4, decoder_layers=4, heads=8, feedforward=1024
    ),
}
"""``paper`` is for GPUs."""


class SlotNetwork(nn.Module):
    """Encoder and decoder over the slots of a day."""

    log_class_weight: Tensor

    def __init__(self, config: SlotNetworkConfig) -> None:
        super().__init__()
        width = config.width
        shape = (width, config.heads, config.feedforward, config.dropout)
        self.config = config
        self.token = nn.Embedding(TYPES + 1, width)
        self.slot = nn.Embedding(SLOTS, width)
        self.segment = nn.Embedding(SLOTS // SEGMENT_SLOTS, width)
        self.day = nn.Embedding(7, width)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(*shape, "gelu", batch_first=True, norm_first=True)
            for _ in range(config.encoder_layers)
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(*shape, "gelu", batch_first=True, norm_first=True)
            for _ in range(config.decoder_layers)
        )
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, TYPES)
        )
        # A weighted cross-entropy learns logits shifted by log w; kept so that it can be undone.
        self.register_buffer("log_class_weight", torch.zeros(TYPES))
        for module in (self.token, self.slot, self.segment, self.day):
            nn.init.normal_(module.weight, std=0.1)

    def forward(self, tokens: Tensor, day: Tensor) -> Tensor:
        """Return the logits of the activity types.

        Parameters
        ----------
        tokens
            Activity types, or ``MASK``, int64 (B, 96).
        day
            Day of the week, 0 = Monday, int64 (B).

        Returns
        -------
        logits
            Shape (B, 96, 15), before the correction for the class weights.
        """
        slots = torch.arange(SLOTS, device=tokens.device)
        time = self.slot(slots) + self.segment(slots // SEGMENT_SLOTS) + self.day(day)[:, None]
        memory = self.token(tokens) + time
        for layer in self.encoder:
            memory = layer(memory)
        hidden = time
        for layer in self.decoder:
            hidden = layer(hidden, memory)
        return self.head(hidden)

    def logits(self, tokens: Tensor, day: Tensor) -> Tensor:
        """Return logits whose softmax is the probability: the class weights are taken out."""
        return self.forward(tokens, day) - self.log_class_weight


@torch.no_grad()
def fill(
    model: SlotNetwork, tokens: Tensor, day: Tensor, shift: Tensor, uniform: Tensor | None
) -> Tensor:
    """Fill the masked slots of days in one pass.

    Parameters
    ----------
    model
        In evaluation mode.
    tokens, day
        See ``SlotNetwork.forward``.
    shift
        Added to the logits, (B, 15): the adapter of the person's group (Eq. 1), -inf for types
        that the person cannot do.
    uniform
        Draws in [0, 1), (B, 96); without them each slot takes its likeliest type.

    Returns
    -------
    chains
        Activity types, int64 (B, 96), equal to ``tokens`` where those are known.
    """
    logits = model.logits(tokens, day) + shift[:, None]
    filled = logits.argmax(-1) if uniform is None else draw(logits, uniform)
    return torch.where(tokens == MASK, filled, tokens)


def transition_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Return Eq. 3: binary cross-entropy of activity changes between neighbouring slots.

    Parameters
    ----------
    probability
        Of the types, (B, L, 15); the predicted change is 1 - Σ_c p_t(c) · p_{t+1}(c).
    target
        True types, int64 (B, L).

    Returns
    -------
    loss
        Scalar.
    """
    stay = (probability[:, 1:] * probability[:, :-1]).sum(-1).clamp(1e-6, 1 - 1e-6)
    changed = (target[:, 1:] != target[:, :-1]).to(stay.dtype)
    return F.binary_cross_entropy(1 - stay, changed)


class SlotObjective(nn.Module):
    """The training loss around the network: one ``forward(batch, progress)``."""

    def __init__(self, model: SlotNetwork, weights: tuple[float, float, float]) -> None:
        super().__init__()
        self.model = model
        self.weights = weights

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total`` and its parts.

        Parameters
        ----------
        batch
            ``tokens`` and ``target`` int64 (B, 96), ``day`` int64 (B); where given, ``importance``
            float32 (B, 96) weighs the slots' cross-entropy (Eq. 4, 5).
        progress
            Share of the training done; the masks already follow it.

        Returns
        -------
        losses
            ``total``, ``cross_entropy``, ``transition``, ``warping``.
        """
        del progress
        target = batch["target"]
        logits = self.model(batch["tokens"], batch["day"])
        each = F.cross_entropy(
            logits.flatten(0, 1), target.flatten(),
            weight=self.model.log_class_weight.exp(), reduction="none",
        ).view_as(target)  # fmt: skip
        importance = batch.get("importance")
        entropy = each.mean() if importance is None else (each * importance).mean()
        probability = torch.softmax(logits - self.model.log_class_weight, dim=-1)
        transition = transition_loss(probability, target)
        warping = warping_loss(probability, target)
        total = self.weights[0] * entropy + self.weights[1] * transition + self.weights[2] * warping
        return {
            "total": total,
            "cross_entropy": entropy.detach(),
            "transition": transition.detach(),
            "warping": warping.detach(),
        }
