"""Frames to be computed anew and trained on, as systems in DeePMD-kit's npy layout, written by dpdata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastdp.dynamics.state import State
from fastdp.errors import InputError
from fastdp.output.files import writing


def load_dpdata() -> Any:
    """Return the module `dpdata`.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import dpdata
    except ImportError as error:
        raise InputError(
            "[committee] save_frames writes frames with dpdata, which is not installed: "
            "pip install 'fastdp[dpdata]', or leave save_frames out"
        ) from error
    return dpdata


def save_frame(state: State, folder: Path) -> None:
    """Save the atoms as a system without labels, in float64; types are named, in the order of the input.

    Parameters
    ----------
    state : State
        All atoms.
    folder : pathlib.Path
        Made if absent.

    Raises
    ------
    FastDPError
        If it cannot be written.
    """
    names = list(dict.fromkeys(state.symbols))
    kinds = np.array([names.index(symbol) for symbol in state.symbols])
    system = load_dpdata().System(
        data={
            "atom_names": names,
            "atom_numbs": np.bincount(kinds, minlength=len(names)).tolist(),
            "atom_types": kinds,
            "orig": np.zeros(3),
            "cells": np.array(state.cell, dtype=np.float64)[None],
            "coords": np.array(state.positions, dtype=np.float64)[None],
            "nopbc": not np.any(state.periodic),
        }
    )
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Its default is float32, which moves atoms by 1e-6 Å.
        system.to("deepmd/npy", str(folder), prec=np.float64)
