"""The screened repulsion of nuclei of Ziegler, Biersack and Littmark, as LAMMPS's `pair_style zbl` has it.

φ(r) = e²Z₁Z₂/(4πε₀ r) · Σ_k c_k exp(−d_k r/a) + S(r),   a = 0.46850 Å/(Z₁^0.23 + Z₂^0.23)

J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids, Pergamon (1985). The
polynomial S brings energy, force and the force's slope to zero between two radii; below the inner one it is
constant (https://docs.lammps.org/pair_zbl.html).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from fastdp.errors import InputError
from fastdp.potential.terms import scalar
from fastdp.potential.terms.base import Array, PairTerm
from fastdp.potential.terms.registry import term_maker
from fastdp.potential.terms.settings import ZBL
from fastdp.units import COULOMB_EV_A

SCREENING_LENGTH_A = 0.46850
"""0.8854 Bohr radii, Å, rounded as LAMMPS has it."""

SCREENING_EXPONENT = 0.23

AMPLITUDES = np.array([scalar.C1, scalar.C2, scalar.C3, scalar.C4])
EXPONENTS = np.array([scalar.D1, scalar.D2, scalar.D3, scalar.D4])


@dataclass(frozen=True, eq=False)
class ZBLTerm(PairTerm):
    """The repulsion for the types of a model.

    Attributes
    ----------
    names : tuple of str
        Of the types.
    strength : (n_types, n_types) float64
        e²Z₁Z₂/(4πε₀), eV·Å.
    inverse_length : (n_types, n_types) float64
        1/a, 1/Å.
    acts : (n_types, n_types) bool
    inner, outer : float
        Å.
    """

    names: tuple[str, ...]
    strength: Array
    inverse_length: Array
    acts: NDArray[np.bool_]
    inner: float
    outer: float

    kind = scalar.ZBL

    @property
    def reach(self) -> Array:
        """Distance from which on a pair of types has no interaction, Å."""
        return np.where(self.acts, self.outer, 0.0)

    def switch(self) -> tuple[Array, Array, Array]:
        """Return A/3, B/4 and C of the switching polynomial, (n_types, n_types) each."""
        width = self.outer - self.inner
        energy, slope, curvature = self._derivatives()
        a = (-3.0 * slope + width * curvature) / width**2
        b = (2.0 * slope - width * curvature) / width**3
        return a / 3.0, b / 4.0, -energy + width * slope / 2.0 - width**2 * curvature / 12.0

    def _derivatives(self) -> tuple[Array, Array, Array]:
        """Return the screened Coulomb energy at the outer radius with its first two derivatives."""
        r, q, s = self.outer, self.strength, self.inverse_length
        parts = AMPLITUDES * np.exp(-EXPONENTS * r * s[..., None])
        f, f1, f2 = (np.sum(parts * (-EXPONENTS) ** p, axis=-1) * s**p for p in range(3))
        return q * f / r, q * (f1 / r - f / r**2), q * (f2 / r - 2.0 * f1 / r**2 + 2.0 * f / r**3)

    def energy_and_slope(
        self, centre: NDArray[np.integer], neighbour: NDArray[np.integer], r: Array
    ) -> tuple[Array, Array]:
        """Return φ and dφ/dr, eV and eV/Å, (n,) each; see `PairTerm`."""
        q, s = self.strength[centre, neighbour], self.inverse_length[centre, neighbour]
        cubic, quartic, shift = (part[centre, neighbour] for part in self.switch())
        parts = AMPLITUDES * np.exp(-EXPONENTS * (r * s)[:, None])
        screening, screening_slope = parts.sum(axis=1), -s * (parts @ EXPONENTS)
        t = np.maximum(r - self.inner, 0.0)
        energy = q / r * screening + cubic * t**3 + quartic * t**4 + shift
        slope = q / r * screening_slope - q / r**2 * screening + 3.0 * cubic * t**2 + 4.0 * quartic * t**3
        inside = self.acts[centre, neighbour] & (r < self.outer)
        return np.where(inside, energy, 0.0), np.where(inside, slope, 0.0)

    def packed(self) -> Array:
        """Return what `switched_zbl` takes besides r, (n_types, n_types, 6)."""
        inner = np.full_like(self.strength, self.inner)
        return np.stack([self.strength, self.inverse_length, inner, *self.switch()], axis=-1)

    def describe(self) -> str:
        """Return what the term is, in one line."""
        n = len(self.names)
        acting = [(a, b) for a in range(n) for b in range(a, n) if self.acts[a, b]]
        pairs = ", ".join(f"{self.names[a]}–{self.names[b]} {self.strength[a, b]:.10g}" for a, b in acting)
        return f"zbl from {self.inner:g} to {self.outer:g} Å (Z₁Z₂e²/4πε₀ in eV·Å: {pairs})"


@term_maker(ZBL)
def make_zbl(settings: ZBL, type_names: tuple[str, ...]) -> ZBLTerm:
    """Return the repulsion for a model's types.

    Parameters
    ----------
    settings : ZBL
    type_names : tuple of str

    Raises
    ------
    InputError
        If the radii are out of order, or a type has no nuclear charge.
    """
    if not 0.0 < settings.inner_A < settings.outer_A < math.inf:
        raise InputError(
            f"[potential.zbl]: inner_A = {settings.inner_A:g} must be above 0 and below outer_A = "
            f"{settings.outer_A:g}"
        )
    acts = _acting(settings.pairs, type_names)
    z = _charges(settings.nuclear_charges, type_names, np.array(acts.any(axis=0)))
    powers = z**SCREENING_EXPONENT
    return ZBLTerm(
        names=type_names,
        strength=COULOMB_EV_A * np.outer(z, z),
        inverse_length=(powers[:, None] + powers[None, :]) / SCREENING_LENGTH_A,
        acts=acts,
        inner=float(settings.inner_A),
        outer=float(settings.outer_A),
    )


def _acting(pairs: Sequence[Sequence[str]] | None, type_names: tuple[str, ...]) -> NDArray[np.bool_]:
    if pairs is None:
        return np.ones((len(type_names), len(type_names)), dtype=bool)
    acts = np.zeros((len(type_names), len(type_names)), dtype=bool)
    for pair in pairs:
        if len(pair) != 2 or any(name not in type_names for name in pair):
            raise InputError(
                f"[potential.zbl], pairs: {list(pair)} is no pair of the model's types, "
                f"{', '.join(type_names)}"
            )
        alpha, beta = (type_names.index(name) for name in pair)
        acts[alpha, beta] = acts[beta, alpha] = True
    return acts


def _charges(given: Mapping[str, float], type_names: tuple[str, ...], needed: NDArray[np.bool_]) -> Array:
    strangers = sorted(set(given) - set(type_names))
    if strangers:
        raise InputError(
            f"[potential.zbl], nuclear_charges names {', '.join(strangers)}, but the model's types are "
            f"{', '.join(type_names)}"
        )
    charges = np.ones(len(type_names))
    for number, name in enumerate(type_names):
        charge = given.get(name, atomic_numbers.get(name, 0))
        if charge > 0 and math.isfinite(charge):
            charges[number] = charge
        elif needed[number]:
            raise InputError(
                f"[potential.zbl]: the type {name} has no known nuclear charge; set it, for example "
                f"nuclear_charges = {{ {name} = 8 }}"
            )
    return charges
