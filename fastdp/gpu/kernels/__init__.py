"""CUDA kernels, written in Python and compiled by Numba; one file for each part of a step.

They share three rules. Nothing adds floating-point numbers atomically, and every sum has a fixed order, so
that a run gives the same bits each time. A kernel does nothing once the run is halted (`status.py`). Sums of
energies, forces and the virial are float64 whatever the precision of the rest.
"""
