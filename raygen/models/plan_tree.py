"""A place's 48 prompts as one token tree: one forward pass, no token computed twice.

The prompts of a place share the instruction and the POI distribution (the trunk), and the
departure times share their first digits. The times are laid out in one row; a mask lets each token
see the trunk and its own ancestors alone, and positions count along the branch, so that the last
token of a branch has the hidden state that it would have in a prompt of its own (tree attention:
Cai et al., "Medusa", ICML 2024, arXiv:2401.10774, section 3.2). Keys and values of the trunk are
not copied for each time.
"""

# Shape suffixes: T = tokens of the trunk, L = tokens of the tree, S = 48 times, H = hidden width.

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import DynamicCache


@dataclass(frozen=True)
class TimeTree:
    """Departure times as a tree of tokens, parents before children."""

    ids: Tensor
    """Token ids, shape (1, L)."""
    depth: Tensor
    """Ancestors of a token, which is its position after the trunk's end; shape (L,)."""
    sees: Tensor
    """Whether row i's token is token j or descends from it, shape (L, L)."""
    last: Tensor
    """Where each time's last token is, shape (S,)."""


def time_tree(times_ST: Tensor) -> TimeTree:
    """Merge the common beginnings of token rows of equal length."""
    nodes: dict[tuple[int, ...], int] = {}
    for step in range(1, times_ST.shape[1] + 1):
        for row in times_ST.tolist():
            nodes.setdefault(tuple(row[:step]), len(nodes))
    sees = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for branch, at in nodes.items():
        for step in range(1, len(branch) + 1):
            sees[at, nodes[branch[:step]]] = True
    return TimeTree(
        ids=torch.tensor([[branch[-1] for branch in nodes]]),
        depth=torch.tensor([len(branch) - 1 for branch in nodes]),
        sees=sees,
        last=torch.tensor([nodes[tuple(row)] for row in times_ST.tolist()]),
    )


def leaves(hidden_1TH: Tensor, tree: TimeTree) -> Tensor:
    """Return the hidden states at the times' last tokens (S, H) of what ``grow`` gave."""
    return hidden_1TH[0, -len(tree.depth) :][tree.last]


def grow(
    decoder: nn.Module, piece: Tensor, tree: TimeTree, cache: "DynamicCache | None" = None
) -> Tensor:
    """Return a decoder's last layer over a piece of the trunk and the tree after it, (1, T+L, H).

    Parameters
    ----------
    decoder
        Whole decoder, or a part of ``raygen.models.plan_net.split``.
    piece
        Token ids (1, T + L) or embeddings (1, T + L, H): the trunk's part that is not in the
        cache, then the tree.
    tree
        The tree.
    cache
        Of the trunk before the piece, one row; the piece is appended to it.
    """
    seen = 0 if cache is None else cache.get_seq_length()
    size = len(tree.depth)
    own = piece.shape[1] - size
    device = piece.device
    position = torch.cat([torch.arange(seen, seen + own), seen + own + tree.depth])
    visible = torch.ones(own + size, seen + own + size, dtype=torch.bool)
    visible[:own, seen:] = torch.tril(torch.ones(own, own + size, dtype=torch.bool))
    visible[own:, seen + own :] = tree.sees
    kind = next(decoder.parameters()).dtype if not piece.is_floating_point() else piece.dtype
    mask = torch.zeros(visible.shape, dtype=kind).masked_fill(~visible, torch.finfo(kind).min)
    name = "inputs_embeds" if piece.is_floating_point() else "input_ids"
    inputs: dict[str, Any] = {
        name: piece,
        "attention_mask": mask[None, None].to(device),
        "position_ids": position[None].to(device),
    }
    keeps = {} if cache is None else {"past_key_values": cache}
    return decoder(**inputs, **keeps, use_cache=cache is not None).last_hidden_state
