r"""Constant temperature: Nosé–Hoover chains.

Equations of motion of a chain of M thermostats with positions ξ and velocities v_ξ
(G. J. Martyna, M. L. Klein, M. Tuckerman, J. Chem. Phys. 97, 2635 (1992), doi:10.1063/1.463940):

.. math::

    \dot v_i &= F_i / m_i - v_{\xi_1} v_i, \qquad \dot \xi_k = v_{\xi_k} \\
    \dot v_{\xi_1} &= (2K - N_f k_B T) / Q_1 - v_{\xi_1} v_{\xi_2} \\
    \dot v_{\xi_k} &= (Q_{k-1} v_{\xi_{k-1}}^2 - k_B T) / Q_k - v_{\xi_k} v_{\xi_{k+1}}

with Q₁ = N_f k_B T τ² and Q_k = k_B T τ². They conserve

.. math::

    H' = K + U + \sum_k \tfrac12 Q_k v_{\xi_k}^2 + N_f k_B T \xi_1 + k_B T \sum_{k>1} \xi_k .

The step is the reversible splitting of G. J. Martyna, M. E. Tuckerman, D. J. Tobias, M. L. Klein,
Mol. Phys. 87, 1117 (1996), doi:10.1080/00268979600100761: half a step of the chain, velocity Verlet,
half a step of the chain. The chain's half step is divided into `sub_steps` parts, each factorised with
the weights of H. Yoshida, Phys. Lett. A 150, 262 (1990), doi:10.1016/0375-9601(90)90092-3, and
M. Suzuki, J. Math. Phys. 32, 400 (1991), doi:10.1063/1.529425.

======  ======================  =======
symbol  variable                unit
======  ======================  =======
ξ       positions               1
v_ξ     velocities              1/ps
Q       masses                  eV ps²
N_f     degrees_of_freedom      1
k_B T   thermal_energy          eV
2K      twice_kinetic_energy    eV
τ       thermostat_time_fs      fs
======  ======================  =======
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics import chain
from fastdp.dynamics.integrator import ForceField, Integrator, register
from fastdp.dynamics.kernels import scale
from fastdp.dynamics.settings import NoseHooverSettings
from fastdp.dynamics.state import State
from fastdp.dynamics.velocity_verlet import VelocityVerletStep
from fastdp.errors import StructureError
from fastdp.parallel.rebinding import rebound
from fastdp.parallel.symbols import outer
from fastdp.units import BOLTZMANN_EV_PER_K, PS_PER_FS


def _symmetric(*outer: float) -> tuple[float, ...]:
    """Return the weights `outer`, the middle one that makes all sum to 1, and `outer` mirrored."""
    return (*outer, 1.0 - 2.0 * sum(outer), *reversed(outer))


_YOSHIDA_3 = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
_SUZUKI_5 = 1.0 / (4.0 - 4.0 ** (1.0 / 3.0))

SUZUKI_YOSHIDA_WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    3: _symmetric(_YOSHIDA_3),
    5: _symmetric(_SUZUKI_5, _SUZUKI_5),
    # Yoshida's solution A of sixth order.
    7: _symmetric(0.784513610477557264, 0.235573213359358134, -1.177679984178871007),
}
"""Fractions of a step that raise a symmetric splitting of second order to fourth (3, 5) or sixth (7)."""


_kick_thermostat = outer("void(i8, i8, f8[::1], f8[::1], f8, f8, f8, f8, f8)", cache=True)(
    chain.kick_thermostat
)
advance_chain = outer("f8(f8[::1], f8[::1], f8[::1], f8[::1], f8, f8, f8)", cache=True)(
    rebound(chain.advance_chain, kick_thermostat=_kick_thermostat)
)


@dataclass(frozen=True)
class Chain:
    """What a chain is made of besides its state.

    Attributes
    ----------
    masses : (chain_length,) float64
        Q, eV ps².
    durations : (n,) float64
        ps; parts of half a step of the chain.
    degrees_of_freedom : float
    thermal_energy : float
        k_B T, eV.
    """

    masses: NDArray[np.float64]
    durations: NDArray[np.float64]
    degrees_of_freedom: float
    thermal_energy: float


@register(NoseHooverSettings)
class NoseHoover(Integrator[NoseHooverSettings]):
    """Constant number, volume and temperature (NVT); see this module for the equations."""

    def initialise(self, state: State) -> None:
        """Get ready for the atoms of `state`, with the chain at rest.

        Raises
        ------
        StructureError
            If no atom can move, so that there is no temperature.
        """
        if state.degrees_of_freedom < 1:
            raise StructureError(
                f"a thermostat needs at least 2 atoms, the structure has {state.n_total}:"
                " without net momentum a single atom has no temperature"
            )
        settings = self.settings
        self._degrees_of_freedom = float(state.degrees_of_freedom)
        self._thermal_energy = BOLTZMANN_EV_PER_K * settings.temperature_K
        period = settings.thermostat_time_fs * PS_PER_FS
        self._masses = np.full(settings.chain_length, self._thermal_energy * period**2)
        self._masses[0] *= self._degrees_of_freedom
        self._positions = np.zeros(settings.chain_length)
        self._velocities = np.zeros(settings.chain_length)
        weights = SUZUKI_YOSHIDA_WEIGHTS[settings.suzuki_yoshida_order]
        part = self.timestep_ps / settings.sub_steps
        self._durations = np.tile(np.array(weights) * part, settings.sub_steps)
        self._advance = VelocityVerletStep(self.timestep_ps)

    @property
    def chain(self) -> Chain:
        """What the chain is made of, for those who advance it elsewhere."""
        return Chain(self._masses, self._durations, self._degrees_of_freedom, self._thermal_energy)

    def step(self, state: State, force_field: ForceField) -> None:
        """Advance positions and velocities by one time step."""
        self._half_step_of_chain(state)
        self._advance(state, force_field)
        self._half_step_of_chain(state)

    def bath_energy(self, state: State) -> float:
        """Return the energy of the chain, Σ ½ Q v_ξ² + N_f k_B T ξ₁ + k_B T Σ_{k>1} ξ_k, eV."""
        return float(
            chain.chain_energy(
                self._positions,
                self._velocities,
                self._masses,
                self._degrees_of_freedom,
                self._thermal_energy,
            )
        )

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return positions and velocities of the chain."""
        return {"positions": self._positions.copy(), "velocities": self._velocities.copy()}

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over positions and velocities of the chain."""
        self._positions[:] = arrays["positions"]
        self._velocities[:] = arrays["velocities"]

    def _half_step_of_chain(self, state: State) -> None:
        twice_kinetic_energy = 2.0 * state.kinetics.energy(state.velocities)
        factor = advance_chain(
            self._positions,
            self._velocities,
            self._masses,
            self._durations,
            twice_kinetic_energy,
            self._degrees_of_freedom,
            self._thermal_energy,
        )
        scale(state.velocities, factor)
