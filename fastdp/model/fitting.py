"""From the environment matrix T of an atom to its energy, and the way back."""

from __future__ import annotations

import numpy as np

from fastdp.model.description import Array, DeepPotential
from fastdp.model.networks import forward, forward_with_gradient


def fitting_energy_and_gradient(
    description: DeepPotential, centre_type: int, environments: Array
) -> tuple[Array, Array]:
    """Return E_i = F_α(D) − [F_α(0)] + bias_α with D_kl = Σ_c T_kc T_lc (l = 1…M), and ∂E_i/∂T.

    Zhang et al., NeurIPS 2018 (arXiv:1805.09003); D is flattened with k slow and l fast.

    Parameters
    ----------
    description : DeepPotential
    centre_type : int
        α.
    environments : (n, K, 4) float64
        T of each atom.

    Returns
    -------
    energies : (n,) float64
        eV.
    gradient : (n, K, 4) float64
        ∂E_i/∂T_kc, eV.
    """
    fitting = description.fitting
    network = fitting.networks[centre_type]
    n_axis = description.descriptor.axis_neurons
    axis = environments[:, :n_axis]
    d = environments @ axis.transpose(0, 2, 1)
    energies, d_gradient = forward_with_gradient(network, d.reshape(len(d), -1))
    p = d_gradient.reshape(d.shape)
    gradient = p @ axis
    gradient[:, :n_axis] += p.transpose(0, 2, 1) @ environments
    return energies + fitting_constant(description, centre_type), gradient


def fitting_constant(description: DeepPotential, centre_type: int) -> float:
    """Return what is added to the network's output: bias_α − [F_α(0)], eV.

    Parameters
    ----------
    description : DeepPotential
    centre_type : int
        α.
    """
    fitting = description.fitting
    network = (fitting.vacuum_networks or fitting.networks)[centre_type]
    vacuum = 0.0
    if fitting.subtract_vacuum[centre_type]:
        vacuum = float(forward(network, np.zeros((1, network.n_in)))[0, 0])
    return float(fitting.bias[centre_type]) - vacuum
