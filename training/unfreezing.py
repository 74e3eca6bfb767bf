"""Progressive unfreezing in three phases (DataFusion, Ma et al., arXiv:2503.15779, 4.2.1).

In the first quarter of the epochs only the embedding and the MLP are trained; from the second on
also the Transformer layers closest to the input, of encoder and decoder; then the middle ones too.

Parts of the two networks. The slot network has them as the paper does: embeddings of type, slot,
segment and day; encoder and decoder; ``head``. In the chain decoder the embedding is all that makes
tokens of the person, the observed stretches and the activity under way, the Transformer its one
stack of blocks, and the MLP what makes logits of ends and of types. Of each stack the first half
(rounded up) is closest to the input; the paper says nothing of layers close to the output but that
the middle is last, so the other half is unfrozen whole. A stack of one layer is all input.
"""

from raygen.models.chain_decoder import ChainDecoder
from raygen.models.slot_network import SlotNetwork

INPUT_LAYERS, MIDDLE_LAYERS = 0.25, 0.5
"""Share of the training from which on the layers are trained."""


def phases(network: ChainDecoder | SlotNetwork) -> dict[str, float]:
    """Return when the Transformer layers open, for ``LoopConfig.unfreeze`` of their objective."""
    if isinstance(network, ChainDecoder):
        stacks = {"blocks": len(network.blocks)}
    else:
        stacks = {"encoder": len(network.encoder), "decoder": len(network.decoder)}
    return {
        f"model.{stack}.{layer}": INPUT_LAYERS if layer < -(-layers // 2) else MIDDLE_LAYERS
        for stack, layers in stacks.items()
        for layer in range(layers)
    }


def phases_by_round(
    network: ChainDecoder | SlotNetwork, round_: int, rounds: int
) -> dict[str, float]:
    """Return the same where the training is one of many rounds, numbered from 0 (section 7.2).

    A layer is trained in the whole of a round, or not at all.
    """
    return {
        name: 0.0 if round_ / rounds >= opens else 1.0 for name, opens in phases(network).items()
    }
