"""TAZ location assignment: compiled kernels over arrays; knows nothing of Ray."""

import raygen  # noqa: F401  # names the folder of compiled functions
