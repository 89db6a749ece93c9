"""From settings to an integrator."""

from __future__ import annotations

from typing import Any

from fastdp.dynamics import nose_hoover, velocity_verlet  # noqa: F401 - they register themselves
from fastdp.dynamics.integrator import INTEGRATORS, Integrator
from fastdp.dynamics.settings import IntegratorSettings


def make_integrator(settings: IntegratorSettings) -> Integrator[Any]:
    """Return the integrator that `settings` are for."""
    return INTEGRATORS[settings.name](settings)
