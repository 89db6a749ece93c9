"""The table of thermodynamic quantities: comma-separated values, one row at a time."""

from __future__ import annotations

from collections.abc import Callable

from fastdp.dynamics.snapshot import Snapshot
from fastdp.output.table import TextTable

COLUMNS: dict[str, Callable[[Snapshot], float]] = {
    "step": lambda s: s.state.step,
    "time_ps": lambda s: s.state.time_ps,
    "stage": lambda s: s.stage,
    "temperature_K": lambda s: s.temperature,
    "potential_energy_eV": lambda s: s.potential_energy,
    "kinetic_energy_eV": lambda s: s.kinetic_energy,
    "total_energy_eV": lambda s: s.total_energy,
    "conserved_quantity_eV": lambda s: s.conserved_quantity,
    "volume_A3": lambda s: s.state.volume,
}
"""What each column holds, but for the pressures that follow."""

PRESSURE_COLUMNS = (
    "pressure_bar",
    "pressure_xx_bar",
    "pressure_yy_bar",
    "pressure_zz_bar",
    "pressure_yz_bar",
    "pressure_xz_bar",
    "pressure_xy_bar",
)
_COMPONENTS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

HEADER = ",".join((*COLUMNS, *PRESSURE_COLUMNS))


class ThermoTable(TextTable):
    """A CSV file with the units in the names of its columns and numbers that read back exactly."""

    def header(self) -> str:
        """Return the names of the columns."""
        return HEADER

    def row(self, snapshot: Snapshot) -> str:
        """Return the line of a step; the virial must be current."""
        pressure = snapshot.pressure_tensor()
        values = [float(pressure.trace()) / 3.0, *(float(pressure[component]) for component in _COMPONENTS)]
        # repr is the shortest text that reads back as the same number.
        return ",".join(
            repr(value) for value in (*(column(snapshot) for column in COLUMNS.values()), *values)
        )

    def beginning(self, step: int) -> str:
        """Return what the line of a step begins with."""
        return f"{step},"
