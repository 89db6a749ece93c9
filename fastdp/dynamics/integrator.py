"""What every integrator is: it moves the atoms by a step, and knows what it conserves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from fastdp.dynamics.settings import IntegratorSettings
from fastdp.dynamics.state import State
from fastdp.potential.base import Evaluation
from fastdp.units import PS_PER_FS


class ForceField(Protocol):
    """Where an integrator gets its forces from."""

    @property
    def evaluation(self) -> Evaluation:
        """Energy and forces of the last `compute`."""

    def compute(self, state: State) -> None:
        """Evaluate the positions of `state`; may wrap them into the cell."""


SettingsT = TypeVar("SettingsT", bound=IntegratorSettings)


class Integrator(ABC, Generic[SettingsT]):
    """Moves a state through time.

    An integrator is made from its settings, told about the atoms by `initialise`, and then asked for
    one step after the other. Everything that its next step depends on, besides the state and the
    evaluation, goes through `state_dict` and `load_state_dict` without loss, so that a resumed run
    continues bit for bit.

    Parameters
    ----------
    settings : IntegratorSettings
        As the user gave them.
    """

    needs_virial: ClassVar[bool] = False
    """Whether each step needs the virial."""

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings
        self.timestep_ps = settings.timestep_fs * PS_PER_FS

    @abstractmethod
    def initialise(self, state: State) -> None:
        """Get ready for the atoms of `state`, as at the start of a stage.

        Raises
        ------
        StructureError
            If these atoms cannot be moved this way.
        """

    @abstractmethod
    def step(self, state: State, force_field: ForceField) -> None:
        """Advance positions and velocities by one time step.

        `force_field.evaluation` belongs to the positions on entry, and again on return. The caller
        counts steps and time.
        """

    @abstractmethod
    def bath_energy(self, state: State) -> float:
        """Return what must be added to kinetic and potential energy to get the conserved quantity, eV."""

    @abstractmethod
    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return copies of all arrays that the next step depends on."""

    @abstractmethod
    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state_dict` returned, after `initialise`."""


INTEGRATORS: dict[str, type[Integrator[Any]]] = {}
"""Integrator classes by the name of their settings."""

IntegratorT = TypeVar("IntegratorT", bound=type[Integrator[Any]])


def register(settings: type[IntegratorSettings]) -> Callable[[IntegratorT], IntegratorT]:
    """Return a class decorator that makes an integrator known under the name of its settings."""

    def add(integrator: IntegratorT) -> IntegratorT:
        INTEGRATORS[settings.name] = integrator
        return integrator

    return add
