"""Every error that raygen raises on purpose.

RaygenError
├── ConfigError      the run's TOML is wrong; fix the file named in the message
├── DataError        a city, a population or an input table breaks its schema or a rule of the field
├── WeightsError     a weight file is missing, truncated or made for another architecture or city
├── ClusterError     the Ray cluster cannot be reached or cannot hold the run
└── StageError       a stage gave up on a shard after its retries

Each takes one message and nothing else, so that Ray can pickle it from a worker to the driver.
"""


class RaygenError(Exception):
    """Base class; catch it to catch everything that raygen raises on purpose."""


class ConfigError(RaygenError, ValueError):
    """The run configuration is wrong."""


class DataError(RaygenError, ValueError):
    """A city, a population or an input table breaks its schema or a rule of the field."""


class WeightsError(RaygenError, ValueError):
    """A weight file is missing, truncated or made for another architecture or city."""


class ClusterError(RaygenError, RuntimeError):
    """The Ray cluster cannot be reached or cannot hold the run."""


class StageError(RaygenError, RuntimeError):
    """A stage failed on a shard after all its retries."""
