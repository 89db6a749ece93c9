"""Compiling kernels ahead of their use."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compressed import compressed, evaluate, random_atoms

from fastdp.errors import BackendError
from fastdp.model.readers.registry import read_model
from fastdp.potential.compressed import meanwhile
from fastdp.potential.compressed.activation_kernels import activate
from fastdp.potential.compressed.compressed_model import CompressedCentre, CompressedModel
from fastdp.potential.compressed.network_kernels import chunk_energy_and_gradient
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.splines import RadialBasis
from fastdp.potential.compressed.step_kernels import _part, run_parts

KERNELS = (_part, run_parts, chunk_energy_and_gradient, activate)


def test_what_is_compiled_ahead_is_what_a_model_needs(model_file):
    meanwhile.compile_single_precision(["tanh", "linear"])
    before = [set(kernel.overloads) for kernel in KERNELS]
    path = model_file("two_sided")
    n_types = read_model(path).n_types
    atoms = random_atoms(np.random.default_rng(3), n_types)
    _, model, _ = compressed(path, "two_sided", 1e-5, lambda: atoms)
    single = {kernel: set(kernel.overloads) for kernel in KERNELS}
    evaluate(CompressedPotential(model, "mixed"), atoms)
    assert [set(kernel.overloads) for kernel in KERNELS] == list(single.values())
    assert all(found <= single[kernel] for kernel, found in zip(KERNELS, before, strict=True))


def test_the_other_process_fills_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(meanwhile, "available_threads", lambda: 2)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    with meanwhile.compiled_meanwhile(["tanh"]):
        pass
    names = {path.name.split(".")[1].split("-")[0] for path in Path(tmp_path).rglob("*.nbc")}
    assert {"_part", "run_parts", "chunk_energy_and_gradient", "times"} <= names


def test_one_core_compiles_one_thing_at_a_time(monkeypatch):
    monkeypatch.setattr(meanwhile, "available_threads", lambda: 1)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with meanwhile.compiled_meanwhile(["tanh"]):
        pass


def test_an_error_ends_the_other_process(monkeypatch):
    monkeypatch.setattr(meanwhile, "available_threads", lambda: 2)
    started = []
    begin = subprocess.Popen

    def note(*arguments, **options):
        started.append(begin([sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", note)
    with pytest.raises(KeyboardInterrupt), meanwhile.compiled_meanwhile(["tanh"]):
        raise KeyboardInterrupt
    assert started[0].returncode is not None


def test_a_model_with_other_splines_is_refused():
    basis = RadialBasis(3, 8, 0.5, 4.0, 2.0)
    centre = CompressedCentre(np.zeros((8, 2)), np.zeros((8, 2)), np.zeros(2), None, (), 0.0)
    with pytest.raises(BackendError, match="degree 3"):
        CompressedPotential(CompressedModel(4.0, ((basis,),), (centre,)))
