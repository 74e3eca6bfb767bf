"""Digest of source files: names what is cached, so that changed code never meets an old result."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent


def source_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 over the names and contents of files, in the order given."""
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def compiled_sources() -> list[Path]:
    """Return every file with functions that Numba compiles, and those beside it."""
    folders = (
        PACKAGE.parent / "assignment",
        PACKAGE / "population",
        PACKAGE / "cities",
        PACKAGE / "stay_points",
        PACKAGE / "inference",
        PACKAGE / "households",
        PACKAGE / "network",
        PACKAGE / "trajectories",
        PACKAGE / "matching",
    )
    alone = [PACKAGE / "models" / "warping.py", PACKAGE / "edit_distance.py"]
    return alone + [path for folder in folders for path in sorted(folder.glob("*.py"))]
