"""Fixtures of the tests that run on several ranks."""

from __future__ import annotations

import importlib.util

import pytest
from jobs import launcher


@pytest.fixture(scope="session")
def mpirun() -> str:
    """The launcher; tests that need it skip where it or mpi4py is absent."""
    found = launcher()
    if found is None or importlib.util.find_spec("mpi4py") is None:
        pytest.skip("needs mpi4py and mpiexec: pip install 'fastdp[mpi]'")
    return found
