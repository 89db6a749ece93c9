"""Fixtures that all tests share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from make_models import MODELS, write_model
from native_models import write_native
from shared_folder import SHARED


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep compressed models of the tests out of the user's cache, and the user's out of the tests."""
    os.environ["FASTDP_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread, as runs do: it would compete with the kernels' threads for the cores."""
    importlib.import_module("scipy.linalg")
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and reference answers beside the project; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED}")
    return SHARED


@pytest.fixture
def generator() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240517)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the file of a small random model by its name in `make_models.MODELS`."""
    folder = tmp_path_factory.mktemp("models")

    def path_of(name: str) -> Path:
        path = folder / f"{name}.pb"
        if not path.exists():
            write_model(MODELS[name], path)
        return path

    return path_of


@pytest.fixture(scope="session")
def native_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the file of a small random model by its name in `native_models.NATIVE`."""
    folder = tmp_path_factory.mktemp("native")

    def path_of(name: str) -> Path:
        path = folder / f"{name}.json"
        return path if path.exists() else write_native(name, path)

    return path_of
