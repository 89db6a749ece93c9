"""Units and constants (CODATA 2022, https://physics.nist.gov/cuu/Constants/).

Inside fastdp: length Å, time ps, mass u (g/mol), energy eV, force eV/Å, velocity Å/ps,
temperature K, virial eV. Users meet fs, K and bar, always with the unit in the name of the key.
"""

BOLTZMANN_EV_PER_K = 8.617333262145179e-5
"""Boltzmann constant, eV/K: k/e = 1.380649e-23 / 1.602176634e-19, exact since SI 2019."""

ATOMIC_MASS_KG = 1.66053906892e-27
"""Atomic mass unit, kg (CODATA 2022)."""

ELEMENTARY_CHARGE_C = 1.602176634e-19
"""Elementary charge, C, exact since SI 2019; also the value of 1 eV in J."""

EV_PER_U_A2_PER_PS2 = ATOMIC_MASS_KG * 1.0e4 / ELEMENTARY_CHARGE_C
"""Value of 1 u·Å²/ps² in eV: kinetic energy (eV) = ½ m v² × this."""

A_PER_PS2_FROM_EV_PER_A_U = 1.0 / EV_PER_U_A2_PER_PS2
"""Acceleration in Å/ps² of 1 u under 1 eV/Å: 9648.53…"""

BAR_PER_EV_PER_A3 = 1602176.634
"""Value of 1 eV/Å³ in bar, exact since SI 2019."""

PS_PER_FS = 1.0e-3
"""Value of 1 fs in ps."""

BOHR_A = 0.529177210544
"""Bohr radius, Å (CODATA 2022)."""

HARTREE_EV = 27.211386245981
"""Hartree energy, eV (CODATA 2022)."""

COULOMB_EV_A = 14.3996454686
"""Coulomb's constant times the elementary charge squared, e²/(4πε₀) = α ħc, eV·Å."""
