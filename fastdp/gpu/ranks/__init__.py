"""Whole steps on several devices, each with the atoms of one rank; ghosts are exchanged in every step."""
