"""Gathering all faults of a table, to raise them as one error."""

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError

_SHOWN = 5


class Faults:
    """Faults of one file; ``raise_any`` ends the gathering."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._found: list[str] = []

    def add(self, column: str, rule: str) -> None:
        """Note a fault of a column as a whole."""
        self._found.append(f"column {column}: {rule}")

    def rows(self, column: str, bad: npt.NDArray[np.bool_], rule: str) -> None:
        """Note a fault of the rows where ``bad`` is true, if there are any."""
        at = np.flatnonzero(bad)
        if len(at):
            shown = ", ".join(map(str, at[:_SHOWN].tolist()))
            more = f" and {len(at) - _SHOWN} more" if len(at) > _SHOWN else ""
            self._found.append(f"column {column}: rows {shown}{more}: {rule}")

    def raise_any(self) -> None:
        """Raise one DataError with every fault noted so far, if there is one."""
        if self._found:
            msg = f"{self._where}: " + "; ".join(self._found)
            raise DataError(msg)
