"""Which failures of a worker are worth a restart, and what to tell of the others."""

import traceback

from ray.exceptions import RayError, RayTaskError
from ray.train import UserCallback
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

# What a worker's RuntimeError says when another worker or the network is gone.
_LOST_PEER = ("gloo", "nccl", "connection", "socket", "broken pipe", "timed out")


class StopOnError(UserCallback):
    """End the training at once when a worker raises, instead of restarting to raise it again.

    Ray Train would restart after any exception; only a lost worker is worth it.
    """

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Raise, in Ray Train's controller, the first exception that a restart would repeat."""
        for error in worker_exceptions.values():
            if not is_loss(error):
                raise error


def is_loss(error: BaseException) -> bool:
    """Return whether an exception of a worker says that a worker, a node or a link was lost."""
    if isinstance(error, (RayError, OSError)):
        return not isinstance(error, RayTaskError)
    if isinstance(error, RuntimeError):
        text = str(error).lower()
        return any(word in text for word in _LOST_PEER)
    # Ray Train's own wrapper of a dead actor is private, and RayTrainError its base.
    return type(error).__module__.startswith("ray.")


def cause(error: BaseException) -> BaseException:
    """Return the worker's exception inside what ``TorchTrainer.fit`` raises."""
    if isinstance(error, RayTaskError):
        return cause(error.cause) if isinstance(error.cause, BaseException) else error
    if isinstance(error, ControllerError):
        return cause(error.controller_failure)
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        failures = list(error.worker_failures.values())
        return next((failure for failure in failures if not is_loss(failure)), failures[0])
    if isinstance(error, TrainingFailedError) and error.__cause__ is not None:
        return cause(error.__cause__)
    return error


def keep_traceback(error: BaseException) -> None:
    """Note an exception's traceback in it, as pickling to the driver drops the traceback itself."""
    error.add_note("in the training worker:\n" + "".join(traceback.format_exception(error)))
