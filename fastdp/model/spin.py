"""Atomic spins (DeepSPIN): each atom of a magnetic type has a partner that only its neighbours see.

    r_i' = r_i + c_α S_i,     c_α = virtual_len/spin_norm                      of atoms i of magnetic type α

Partners have types of their own, behind those of the atoms, and no energy. With F′ the force on a partner,
the atom's force is F_i + F_i′, the magnetic force −∂E/∂S_i = c_α F_i′.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastdp.model.description import Array, DeepPotential, EnergyFitting, Network


@dataclass(frozen=True, eq=False)
class SpinPart:
    """What makes a model one of spins; its descriptor knows the types of partners besides `type_names`.

    Attributes
    ----------
    scale : (n_magnetic,) float64
        c, Å by unit of spin, of the first types, which are the magnetic ones.
    """

    scale: Array

    @property
    def n_magnetic(self) -> int:
        """Number of magnetic types."""
        return len(self.scale)


def with_partner_types(description: DeepPotential) -> DeepPotential:
    """Return the model as one of atoms and partners, with all types that its descriptor knows.

    Parameters
    ----------
    description : DeepPotential
        With a `spin`.
    """
    n = description.spin.n_magnetic
    fitting: EnergyFitting = description.fitting
    silent = (muted(fitting.networks[0]),) * n
    vacuum = fitting.vacuum_networks
    return replace(
        description,
        type_names=(*description.type_names, *(f"spin of {name}" for name in description.type_names[:n])),
        fitting=replace(
            fitting,
            networks=(*fitting.networks, *silent),
            bias=np.append(fitting.bias, np.zeros(n)),
            subtract_vacuum=np.append(fitting.subtract_vacuum, np.zeros(n, dtype=bool)),
            vacuum_networks=None if vacuum is None else (*vacuum, *silent),
        ),
        spin=None,
    )


def muted(network: Network) -> Network:
    """Return a network that gives zero."""
    last = network.layers[-1]
    return Network(
        (
            *network.layers[:-1],
            replace(last, weight=np.zeros_like(last.weight), bias=np.zeros_like(last.bias)),
        )
    )
