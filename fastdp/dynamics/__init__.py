"""Integrators, velocities and the state they act on."""
