"""TAZ location assignment: compiled kernels over arrays; knows nothing of Ray."""
