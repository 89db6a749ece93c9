"""Potentials: the readable reference and the compressed fast path, behind one interface."""
