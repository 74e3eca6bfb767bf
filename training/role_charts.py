"""The picture of Figure 9: the kinds of places that each profile goes to."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]

_PLANNED, _OBSERVED, _NONE = "#4c78a8", "#f58518", "#999999"


def draw_mixes(
    path: Path,
    planned: dict[str, FloatArray],
    none: FloatArray,
    observed: dict[str, FloatArray],
) -> Path:
    """Draw the mix of the 14 categories of every profile's destinations; return the file.

    Parameters
    ----------
    path
        PNG to write.
    planned
        Mix of a profile's planned destinations, shape (14,), by its name.
    none
        The same without a profile.
    observed
        Mix of held-out people's destinations, for the profiles that the data know.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.1 * len(planned) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(planned), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    at = np.arange(len(POI_CATEGORIES))
    for axis, (name, mix) in zip(axes, planned.items(), strict=True):
        axis.bar(at, mix, width=0.6, color=_PLANNED, label="planned")
        axis.step(at, none, where="mid", color=_NONE, label="planned, no profile")
        if name in observed:
            axis.plot(at, observed[name], "D", color=_OBSERVED, label="observed, held out")
        note = "" if name in observed else " (not in the data: zero-shot)"
        axis.set_title(name.replace("_", " ") + note, fontsize=10, loc="left")
        axis.set_ylabel("share")
        axis.legend(fontsize=7, frameon=False, ncols=3)
    axes[-1].set_xticks(at, [word.replace("_", " ") for word in POI_CATEGORIES], rotation=35)
    figure.savefig(path, dpi=110)
    return path
