"""What of the GPU engine needs neither a card nor the simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from compressed import random_atoms
from fake_cuda import ColumnMajorBlas

from fastdp.errors import BackendError, StructureError
from fastdp.gpu.device import choice
from fastdp.gpu.device.cublas import Cublas, operands
from fastdp.gpu.device.stand_in import StandIn
from fastdp.gpu.device.tf32 import rounded_to_tf32
from fastdp.gpu.geometry import cell_geometry
from fastdp.gpu.kernels import cell_list
from fastdp.gpu.kernels.pairs import moment_stride
from fastdp.gpu.layout import upload_model
from fastdp.model.readers.registry import read_model
from fastdp.parallel.rebinding import rebound
from fastdp.potential.factory import make_potential
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import ZBL
from fastdp.structure.structure import Structure


def test_importing_the_engine_needs_neither_cupy_nor_a_driver() -> None:
    code = (
        "import sys, fastdp.gpu.engine, fastdp.gpu.potential, fastdp.gpu.device.card, fastdp.ase\n"
        "assert 'cupy' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env=environment)


def test_numpy_has_the_names_that_the_compiler_asks_for() -> None:
    """Of which NumPy 2.5 has dropped one."""
    code = (
        "import numpy as np\n"
        "vars(np).pop('row_stack', None)\n"
        "import fastdp.gpu.device.card\n"
        "assert vars(np)['row_stack']([[1], [2]]).shape == (2, 1)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env=environment)


def structure_of(atoms, names) -> Structure:
    return Structure(
        symbols=tuple(names[t] for t in atoms.types),
        positions=atoms.positions,
        cell=atoms.cell,
        periodic=atoms.periodic,
        masses=np.ones(len(atoms.types)),
    )


def test_asking_for_an_absent_card_says_what_to_install(model_file, monkeypatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    description = read_model(model_file("two_sided"))
    atoms = random_atoms(np.random.default_rng(3), 2)
    lines: list[str] = []
    with pytest.raises(BackendError, match=r"CuPy is not installed.*pip install 'fastdp\[cuda12\]'"):
        make_potential(
            description,
            structure_of(atoms, description.type_names),
            backend="cuda",
            report=lines.append,
        )
    # Before minutes go into compressing the model.
    assert not any("compressing" in line for line in lines)


def test_auto_without_a_card_takes_the_processor_and_says_why(model_file, monkeypatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    description = read_model(model_file("two_sided"))
    atoms = random_atoms(np.random.default_rng(3), 2)
    lines: list[str] = []
    make_potential(
        description, structure_of(atoms, description.type_names), tolerance=1e-2, report=lines.append
    )
    assert lines[0] == "backend: cpu (chosen automatically: CuPy is not installed)"


def test_auto_with_a_card_takes_it(model_file, monkeypatch) -> None:
    from fastdp.potential import factory

    monkeypatch.setattr(choice, "why_no_card", lambda: None)
    description = read_model(model_file("two_sided"))
    assert factory._fastest_backend(description, ()) == ("cuda", "there is a GPU")
    repulsion = make_terms([ZBL(0.5, 1.0)], description.type_names)
    assert factory._fastest_backend(description, repulsion)[0] == "cuda"


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "3"}, 3),
        ({"SLURM_LOCALID": "2"}, 2),
        ({"MPI_LOCALRANKID": "x"}, 0),
    ],
)
def test_the_card_follows_the_rank_on_the_node(monkeypatch, variables, rank) -> None:
    for name in choice.LOCAL_RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choice.local_rank() == rank


@pytest.mark.parametrize(("dtype", "tf32"), [(np.float64, False), (np.float32, False), (np.float32, True)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("shape", ["plain", "strided batch", "one row", "one column"])
def test_products_reach_cublas_as_meant(generator, dtype, tf32, transposed, accumulate, shape) -> None:
    """The layout of moments, Q and activations, translated to column-major, strided and batched."""
    blas = Cublas(ColumnMajorBlas(), 0, 0)
    n, k, m = {"one row": (1, 7, 5), "one column": (6, 4, 1)}.get(shape, (6, 7, 5))
    a = generator.normal(size=(n, k)).astype(dtype)
    out = generator.normal(size=(n, m)).astype(dtype)
    if shape == "strided batch":
        # As moments[:, 1:].transpose(1, 0, 2), on both sides.
        a = generator.normal(size=(n, 4, k)).astype(dtype)[:, 1:].transpose(1, 0, 2)
        out = generator.normal(size=(n, 4, m)).astype(dtype)[:, 1:].transpose(1, 0, 2)
    b = generator.normal(size=(m, k) if transposed else (k, m)).astype(dtype)
    rounded = rounded_to_tf32 if tf32 else np.asarray
    expected = rounded(a) @ rounded(b.T if transposed else b) + (out if accumulate else 0.0)
    blas.product(
        a,
        b,
        out,
        transposed=transposed,
        accumulate=accumulate,
        tf32=tf32,
        address=lambda array: array.ctypes.data,
    )()
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12 if dtype == np.float64 else 2e-5)


def test_a_product_that_cannot_be_described_is_refused() -> None:
    a = np.zeros((3, 8))[:, ::2]
    with pytest.raises(ValueError, match="not contiguous"):
        operands(a, np.zeros((4, 2)), np.zeros((3, 2)), False)


def test_a_failure_of_cublas_is_an_error() -> None:
    class Failing:
        def __getattr__(self, name):
            return lambda *arguments: 1

    with pytest.raises(BackendError, match="cublasCreate with status 1"):
        Cublas(Failing(), 0, 0)


@pytest.mark.parametrize("periodic", [(True, True, True), (True, False, True), (False, False, False)])
def test_no_neighbour_is_beyond_the_cells_looked_at(generator, periodic) -> None:
    """Every pair within reach lies in cells that are at most REACH apart, whatever the skew."""
    cell = np.array([[5.0, 0, 0], [2.4, 4.1, 0], [-2.2, 1.9, 6.3]])
    positions = generator.uniform(-1, 2, (40, 3)) @ cell
    periodic = np.array(periodic)
    reach = 3.7
    geometry = cell_geometry(cell, periodic, positions, reach)
    table, counts = geometry.table, geometry.counts
    reciprocal = table[cell_list.RECIPROCAL : cell_list.RECIPROCAL + 3]
    i, j = np.triu_indices(40, 1)
    close = np.linalg.norm(positions[i] - positions[j], axis=1) < reach
    assert close.any()
    place = (positions @ reciprocal - table[cell_list.LOW]) * table[cell_list.SCALE]
    apart = np.abs(np.floor(place[i]) - np.floor(place[j]))[close]
    assert (apart <= counts[cell_list.REACH]).all()
    # One translation is that of the atom's own image.
    assert (np.abs(geometry.translations).sum(axis=1) == 0.0).sum() == 1
    assert np.log2(len(geometry.translations)) + geometry.index_bits <= 31


def test_a_cell_with_too_many_images_is_refused() -> None:
    with pytest.raises(StructureError, match="cannot be numbered"):
        cell_geometry(0.002 * np.eye(3), np.ones(3, bool), np.zeros((1, 3)), 6.0)


def test_functions_are_rebound() -> None:
    def inner(x):
        return x

    def outer(x):
        return doubled(x) + 1  # noqa: F821 - given below

    assert rebound(outer, doubled=lambda x: 2 * x)(4) == 9
    assert rebound(inner)(3) == 3
    with pytest.raises(TypeError, match="not a plain function"):
        rebound(len)


class FakeStream:
    """A stream that notes what is asked of it; captures if it is allowed to."""

    def __init__(self, *, captures: bool) -> None:
        self.captures = captures
        self.events: list[str] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass

    def begin_capture(self) -> None:
        self.events.append("begin")

    def end_capture(self):
        self.events.append("end")
        if not self.captures:
            raise RuntimeError("operation not permitted when stream is capturing")
        return self

    def launch(self, stream: object) -> None:
        assert stream is self
        self.events.append("graph")


def test_a_step_is_recorded_the_second_time_and_replayed_from_then_on() -> None:
    from fastdp.gpu.device.card import _Graph

    stream = FakeStream(captures=True)
    graph = _Graph([lambda: stream.events.append("a"), lambda: stream.events.append("b")], stream)
    for _ in range(3):
        graph()
    assert stream.events == ["a", "b", "begin", "a", "b", "end", "graph", "graph"]


def test_a_step_that_cannot_be_recorded_is_launched_one_by_one() -> None:
    from fastdp.gpu.device.card import _Graph

    stream = FakeStream(captures=False)
    graph = _Graph([lambda: stream.events.append("a")], stream)
    graph()
    with pytest.warns(UserWarning, match="cannot be captured"):
        graph()
    graph()
    # Nothing of the failed recording ran, so the step is launched in full.
    assert stream.events == ["a", "begin", "a", "end", "end", "a", "a"]


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("n_functions", [6, 8, 31, 112, 113, 200])
def test_lanes_of_a_warp_add_to_different_banks(n_functions: int, itemsize: int) -> None:
    """Shared memory has 32 banks of 4 bytes; numbers of 8 bytes are taken by half a warp at a time."""
    stride = moment_stride(n_functions, itemsize)
    assert n_functions <= stride < n_functions + 32
    lanes = np.arange(24)
    places = lanes // 6 * stride + lanes % 6
    at_once = 32 if itemsize == 4 else 16
    for start in range(0, 24, at_once):
        banks = places[start : start + at_once] % at_once
        assert len(set(banks.tolist())) == len(banks)


def test_too_many_functions_for_shared_memory_are_refused() -> None:
    model = SimpleNamespace(triples=None, n_functions=2000)
    with pytest.raises(BackendError, match="2000 basis functions"):
        upload_model(StandIn(), model, np.float64)
