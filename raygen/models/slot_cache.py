"""A KV cache of a fixed number of slots, each with a text of its own length."""

# Shape suffixes: B = slots, S = positions that are read.

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import DynamicCache

_STRIDE = 32  # positions by which the part of the cache that is read grows


class SlotCache:
    """Keys and values of B texts of unequal length, as transformers' attention appends to them."""

    is_compileable = False

    def __init__(self, like: "DynamicCache", slots: int, most: int) -> None:
        self.length = torch.zeros(slots, dtype=torch.long)
        self._rows = torch.arange(slots)
        self._most = most
        self.view = _STRIDE
        self._held: list[tuple[Tensor, Tensor]] = []
        for layer in like.layers:
            keys: Tensor = layer.keys  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
            shape = (slots, keys.shape[1], most, keys.shape[3])
            self._held.append((keys.new_zeros(shape), keys.new_zeros(shape)))

    def fill(self, slot: int, cache: "DynamicCache") -> None:
        """Put the keys and values of one text into a slot."""
        for (keys, values), layer in zip(self._held, cache.layers, strict=True):
            new: Any = layer
            count = new.keys.shape[2]
            keys[slot, :, :count] = new.keys[0]
            values[slot, :, :count] = new.values[0]
            self.length[slot] = count

    def mask(self) -> Tensor:
        """Return which positions each slot sees with the next one, (B, 1, 1, S); set what is read.

        All slots read as many positions; those behind a slot's own end count for nothing.
        """
        most = int(self.length.max()) + 1
        self.view = min(-(-most // _STRIDE) * _STRIDE, self._most)
        return (torch.arange(self.view) <= self.length[:, None])[:, None, None]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Set each slot's next position, and return all that are read; transformers calls this."""
        keys, values = self._held[layer_idx]
        keys[self._rows, :, self.length] = key_states[:, :, 0]
        values[self._rows, :, self.length] = value_states[:, :, 0]
        return keys[:, :, : self.view], values[:, :, : self.view]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the positions of the longest text."""
        del layer_idx
        return int(self.length.max())
