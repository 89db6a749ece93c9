"""Compiled parts of fastdp: cell lists (Cython)."""
