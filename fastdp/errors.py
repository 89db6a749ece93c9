"""The exceptions of fastdp: one hierarchy, each with the exit code of the command line.

A message names the file, key, step, atom and value that it is about and says what to do.

=====  ==========================================================
code   meaning
=====  ==========================================================
0      finished
1      a defect in fastdp itself (unexpected exception)
2      bad input: nothing was run, nothing was written or lost
3      the run was stopped by the physics (NaN, too close, too hot)
4      interrupted by a signal; a checkpoint was written
5      paused where a committee disagrees; a checkpoint was written
6      `fastdp check --expect` found other values than the expected
=====  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class FastDPError(Exception):
    """Base of every error that fastdp raises on purpose.

    Attributes
    ----------
    on_all_ranks : bool
        Whether all ranks of a parallel run raise it, so that each can end by itself.
    """

    exit_code = 1
    on_all_ranks = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions go to other ranks, and are not made from `args` there.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[FastDPError], arguments: tuple[Any, ...], content: Mapping[str, Any]) -> FastDPError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(content)
    return error


class InputError(FastDPError):
    """Something that the user gave cannot be used."""

    exit_code = 2


class ConfigurationError(InputError):
    """The input file is not valid. Holds every problem found, not only the first."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        noun = "problem" if len(self.problems) == 1 else "problems"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} {noun}\n{lines}")


class ModelError(InputError):
    """A model file is damaged or is not a model."""


class UnsupportedModelError(ModelError):
    """A model file is sound, but has a part that fastdp does not evaluate."""


class StructureError(InputError):
    """A structure cannot be read, or does not fit the model."""


class OutputExistsError(InputError):
    """An output file is there already and may not be overwritten."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class TrajectoryError(InputError):
    """A trajectory file cannot be read."""


class BackendError(InputError):
    """The backend asked for is not available on this machine."""


class SimulationError(FastDPError):
    """The run had to stop. `step` is None outside a run; `atoms` are indices from 0 in input order."""

    exit_code = 3

    def __init__(self, message: str, *, step: int | None = None, atoms: Sequence[int] = ()) -> None:
        self.reason = message
        self.step = step
        self.atoms = tuple(int(a) for a in atoms)
        super().__init__(message if step is None else f"step {step}: {message}")

    def at_step(self, step: int) -> SimulationError:
        """Return the same error with the step it happened at."""
        return self.with_reason(self.reason, step)

    def with_reason(self, reason: str, step: int) -> SimulationError:
        """Return the same error with another text."""
        error = type(self)(reason, step=step, atoms=self.atoms)
        error.on_all_ranks = self.on_all_ranks
        return error


class PairTooCloseError(SimulationError):
    """Two atoms are closer than the shortest distance that the compressed potential covers."""


class NonFiniteError(SimulationError):
    """An energy, force, position or velocity is NaN or infinite."""


class RunawayTemperatureError(SimulationError):
    """The temperature rose above the limit set in the input."""


class LostAtomsError(SimulationError):
    """Atoms are on no rank, or on several: a defect."""


class ModelDeviationError(SimulationError):
    """The models of a committee disagree by more than the limit set in the input."""


class Interrupted(FastDPError):  # noqa: N818 - an interruption is not an error of anybody
    """The run was asked to stop (Ctrl-C, SIGTERM) and did so after writing a checkpoint."""

    exit_code = 4


class Paused(FastDPError):  # noqa: N818 - nor is a pause
    """The run reached what the input said to pause at, and ended after writing a checkpoint."""

    exit_code = 5


class ExpectationError(FastDPError):
    """A model does not give what was expected of it. Holds every miss, not only the first."""

    exit_code = 6

    def __init__(self, source: str, misses: Sequence[str]) -> None:
        self.misses = tuple(misses)
        noun = "value is" if len(self.misses) == 1 else "values are"
        lines = "\n".join(f"  - {miss}" for miss in self.misses)
        super().__init__(f"{source}: {len(self.misses)} {noun} not as expected\n{lines}")
