"""Neighbour search: cell list, ghost atoms, Verlet list."""
