"""The fitting network in one kernel of CUDA C++, on the processor: see host_cuda.py."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from host_cuda import Stuck, aligned, launch_on_the_host
from numpy.typing import NDArray

from fastdp.errors import BackendError
from fastdp.gpu.device.base import CardFeatures
from fastdp.gpu.device.recording import RecordingDevice
from fastdp.gpu.device.source_kernel import SourceKernel, compile_source
from fastdp.gpu.fused.network import AtomsOfAType, by_blocks, fused_networks, weights_of
from fastdp.gpu.fused.packing import packed
from fastdp.gpu.fused.shape import (
    ROWS,
    NetworkShape,
    Plan,
    best_rows,
    largest_shared,
    plan,
    plans,
    shape_of,
    why_not,
)
from fastdp.gpu.fused.text import Part, kernel_text, network_source
from fastdp.gpu.kernels.status import HALTED, SIZE
from fastdp.gpu.layout import upload_model
from fastdp.gpu.tiles import Tile, arena_size, in_batches
from fastdp.potential.compressed.compressed_model import CompressedCentre, CompressedModel, FactoredLayer
from fastdp.potential.compressed.splines import RadialBasis

N = 37
"""Atoms: no multiple of any number of rows."""

FIRST = 2
BIAS = -1.25


@dataclass(frozen=True)
class Sizes:
    """Of a network: columns, q, M (0 for the triangle), outputs of layers, ranks (0: whole), time steps."""

    columns: int
    q: int
    right: int
    outputs: tuple[int, ...]
    ranks: tuple[int, ...]
    timestep: bool


SIZES = {
    "a water model's hydrogen": Sizes(224, 35, 16, (240, 240, 240), (57, 36, 34), True),
    "a water model's oxygen": Sizes(224, 27, 0, (240, 240, 240), (44, 38, 42), True),
    "whole layers": Sizes(36, 6, 3, (20, 20), (0, 0), False),
    "a triangle, whole and factored": Sizes(20, 5, 0, (24, 24, 12), (0, 7, 0), False),
    "odd numbers": Sizes(13, 9, 5, (17, 17), (3, 9), True),
    "one layer": Sizes(8, 1, 0, (8,), (2,), False),
    "one channel": Sizes(16, 1, 1, (9, 33), (0, 20), False),
}

SMALL = [name for name in SIZES if "water" not in name]


def random_centre(sizes: Sizes, seed: int = 5) -> CompressedCentre:
    """Return a network with random weights, of sizes that keep its numbers near one."""
    generator = np.random.default_rng(seed)

    def matrix(n: int, m: int) -> NDArray:
        return generator.normal(size=(n, m)) / np.sqrt(n)

    width = sizes.q * sizes.right if sizes.right else sizes.q * (sizes.q + 1) // 2
    layers = []
    for n_out, rank in zip(sizes.outputs, sizes.ranks, strict=True):
        identity = bool(layers) and len(layers[-1].bias) == n_out
        layers.append(
            FactoredLayer(
                left=matrix(width, rank or n_out),
                right=matrix(rank, n_out) if rank else None,
                bias=generator.normal(size=n_out),
                timestep=generator.uniform(0.5, 1.5, n_out) if sizes.timestep and identity else None,
                activation="tanh",
                shortcut="identity" if identity else "none",
            )
        )
        width = n_out
    layers.append(FactoredLayer(matrix(width, 1), None, generator.normal(size=1), None, "linear", "none"))
    return CompressedCentre(
        radial=matrix(sizes.columns, sizes.q),
        angular=matrix(sizes.columns, sizes.q),
        constant=generator.normal(size=sizes.q),
        axis_matrix=matrix(sizes.q, sizes.right) if sizes.right else None,
        layers=tuple(layers),
        bias=BIAS,
    )


def energies_of(centre: CompressedCentre, moments: NDArray) -> NDArray:
    """Return the energies of atoms by the equations in `compressed_model.py`; moments may be complex."""
    tau = np.stack(
        [
            moments[:, 0] @ centre.radial + centre.constant,
            *(moments[:, c] @ centre.angular for c in (1, 2, 3)),
        ]
    )
    if centre.axis_matrix is None:
        left, right = np.triu_indices(centre.rank)
        x = np.einsum("cnp,cnp->np", tau[:, :, left], tau[:, :, right])
    else:
        x = np.einsum("cnp,cnl->npl", tau, tau @ centre.axis_matrix).reshape(len(moments), -1)
    for layer in centre.layers:
        whole = layer.left if layer.right is None else layer.left @ layer.right
        y = x @ whole + layer.bias
        if layer.activation == "tanh":
            y = np.tanh(y)
        y = y if layer.timestep is None else y * layer.timestep
        x = x + y if layer.shortcut == "identity" else y
    return x[:, 0] + centre.bias


def gradient_along(centre: CompressedCentre, moments: NDArray, direction: NDArray) -> NDArray:
    """Return the derivative of the energies along a direction, exact to rounding: a complex step."""
    step = 1e-30
    return energies_of(centre, moments + 1j * step * direction).imag / step


def run(
    centre: CompressedCentre,
    chosen: Plan,
    shape: NetworkShape,
    moments: NDArray,
    products: str = "double",
    *,
    text: str | None = None,
    stored: bool = True,
    halted: bool = False,
    descending: bool = False,
) -> tuple[NDArray, NDArray]:
    """Return the energies in the input's order, NaN where nothing was stored, and what M has become."""
    dtype = np.float64 if products == "double" else np.float32
    weights, offsets = weights_of(centre, shape, dtype)
    n = len(moments)
    status = np.zeros(SIZE, np.int32)
    status[HALTED] = int(halted)
    blocks = -(-n // chosen.rows)
    result = aligned(moments.astype(dtype))
    energies = np.full(n + FIRST, np.nan)
    scratch = aligned(np.full(blocks * chosen.rows * shape.parked, np.nan, dtype))
    atom_of = np.arange(n + FIRST, dtype=np.int32)[::-1].copy()
    text = text or kernel_text([Part(shape, chosen, offsets)], products)
    arguments = (status, int(stored), result, energies, atom_of, scratch, n, FIRST, 0, BIAS, aligned(weights))
    shared = chosen.bytes(np.dtype(dtype).itemsize)
    launch_on_the_host(text, blocks, chosen.threads, shared, arguments, descending=descending)
    return energies[::-1][FIRST:], result


def random_moments(shape: NetworkShape, n: int = N) -> NDArray:
    return np.random.default_rng(8).normal(size=(n, 4, shape.columns))


def assert_right(
    centre: CompressedCentre, shape: NetworkShape, chosen: Plan, tolerance: float, products: str
) -> None:
    moments = random_moments(shape)
    energies, gradient = run(centre, chosen, shape, moments, products)
    expected = energies_of(centre, moments)
    np.testing.assert_allclose(energies, expected, atol=tolerance * np.abs(expected).max())
    generator = np.random.default_rng(9)
    for _ in range(3):
        direction = generator.normal(size=moments.shape)
        along = gradient_along(centre, moments, direction)
        np.testing.assert_allclose(
            np.sum(gradient * direction, axis=(1, 2)), along, atol=tolerance * np.abs(along).max()
        )


@pytest.mark.parametrize("is_parked", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_energies_and_gradients_in_double(name: str, is_parked: bool) -> None:
    """Against a complex step through the equations, which has no error but rounding."""
    centre = random_centre(SIZES[name])
    shape = shape_of(centre)
    rows = 48 if "water" in name else 16
    assert_right(centre, shape, plan(shape, rows, 8, is_parked=is_parked), 1e-13, "double")


@pytest.mark.parametrize(("products", "tolerance"), [("tf32x3", 3e-6), ("tf32", 1e-2)])
@pytest.mark.parametrize("name", ["a water model's hydrogen", "a triangle, whole and factored"])
def test_products_of_tf32(name: str, products: str, tolerance: float) -> None:
    centre = random_centre(SIZES[name])
    shape = shape_of(centre)
    assert_right(centre, shape, plan(shape, 64, 4, is_parked=False), tolerance, products)


@pytest.mark.parametrize("products", ["double", "tf32", "tf32x3"])
@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0x7FC00000, 0x7F800000, 0xFF800000])
def test_what_is_no_number_is_not_hidden(bits: int, products: str) -> None:
    """NaN of a card and another, and infinities; all atoms but the one have their numbers."""
    centre = random_centre(SIZES["a triangle, whole and factored"])
    shape = shape_of(centre)
    moments = random_moments(shape)
    whole, _ = run(centre, plan(shape, 16, 4, is_parked=False), shape, moments, "tf32")
    moments[21, 2, 4] = np.array([bits], np.uint32).view(np.float32)[0]
    chosen = plan(shape, 16, 8 if products == "double" else 4, is_parked=False)
    energies, gradient = run(centre, chosen, shape, moments, products)
    others = np.arange(N) != 21
    assert not np.isfinite(energies[21])
    assert not np.isfinite(gradient[21]).all()
    np.testing.assert_allclose(energies[others], whole[others], atol=0.05)
    assert np.isfinite(gradient[others]).all()


@pytest.mark.parametrize("name", ["a water model's oxygen", "odd numbers"])
def test_the_number_of_rows_does_not_change_a_bit(name: str) -> None:
    centre = random_centre(SIZES[name])
    shape = shape_of(centre)
    moments = random_moments(shape)
    found = [run(centre, plan(shape, rows, 8, is_parked=False), shape, moments) for rows in (16, 32)]
    # Nor does the number of the other atoms.
    found.append(run(centre, plan(shape, 32, 8, is_parked=True), shape, moments[:5]))
    for energies, gradient in found[1:]:
        np.testing.assert_array_equal(energies, found[0][0][: len(energies)])
        np.testing.assert_array_equal(gradient, found[0][1][: len(gradient)])


def test_energies_that_are_known_are_left_alone() -> None:
    centre = random_centre(SIZES["odd numbers"])
    shape = shape_of(centre)
    moments = random_moments(shape)
    chosen = plan(shape, 16, 8, is_parked=False)
    energies, gradient = run(centre, chosen, shape, moments, stored=False)
    assert np.isnan(energies).all()
    np.testing.assert_array_equal(gradient, run(centre, chosen, shape, moments)[1])


def test_a_run_that_is_halted_stays_as_it_is() -> None:
    centre = random_centre(SIZES["odd numbers"])
    shape = shape_of(centre)
    moments = random_moments(shape)
    energies, gradient = run(centre, plan(shape, 16, 8, is_parked=False), shape, moments, halted=True)
    assert np.isnan(energies).all()
    np.testing.assert_array_equal(gradient, moments)


BARRIER = "__syncthreads();"


def test_every_barrier_is_needed() -> None:
    """Without any one of them, one of two orders of the threads gives other numbers, or none."""
    source = network_source()
    places = [match.start() for match in re.finditer(re.escape(BARRIER), source)]
    needed = dict.fromkeys(places, False)
    # Two groups of 16 atoms share the features of a layer; with both kinds of layers and of products.
    for right in (0, 3):
        centre = random_centre(Sizes(36, 6, right, (40, 40, 24), (7, 0, 9), True))
        shape = shape_of(centre)
        chosen = plan(shape, 32, 8, is_parked=True)
        moments = random_moments(shape, 32)
        whole = kernel_text([Part(shape, chosen, weights_of(centre, shape, np.float64)[1])], "double")
        expected = run(centre, chosen, shape, moments)
        for place in places:
            without = source[:place] + source[place + len(BARRIER) :]
            text = whole.replace(source, without)
            for descending in (False, True):
                if not needed[place]:
                    try:
                        found = run(centre, chosen, shape, moments, text=text, descending=descending)
                    except Stuck:
                        needed[place] = True
                        continue
                    needed[place] = any(
                        not np.array_equal(one, other, equal_nan=True)
                        for one, other in zip(found, expected, strict=True)
                    )
    idle = [source[:place].count("\n") + 1 for place, found in needed.items() if not found]
    assert not idle, f"barriers in these lines are not needed: {idle}"


def test_packed_matrices_are_what_lanes_take() -> None:
    """Numbers of a lane, put where the PTX ISA says that they belong, are the matrix again."""
    generator = np.random.default_rng(1)
    for dtype in (np.float64, np.float32):
        matrix = generator.normal(size=(37, 21)).astype(dtype)
        units, per_lane = (6, 2) if dtype == np.float64 else (3, 4)
        found = packed(matrix).reshape(3, units, 32, per_lane)
        again = np.zeros((48, 24), dtype)
        for tile, unit, lane, i in np.ndindex(found.shape):
            g, t = lane // 4, lane % 4
            row = 4 * per_lane * unit + 8 * (i // 2) + t + 4 * (i % 2)
            again[row, 8 * tile + g // 2 + 4 * (g % 2)] = found[tile, unit, lane, i]
        np.testing.assert_array_equal(again[:37, :21], matrix)
        assert not again[37:].any()
        assert not again[:, 21:].any()
        assert packed(matrix, to_memory=True).size == 4 * units * 32 * per_lane
        assert packed(matrix, steps=5).size == 3 * 5 * 16 * 8


def test_the_first_matrix_in_blocks() -> None:
    for name, right in (("odd numbers", 5), ("a triangle, whole and factored", 0)):
        centre = random_centre(SIZES[name])
        shape = shape_of(centre)
        rows = by_blocks(centre.layers[0].left, shape)
        assert rows.shape == (shape.inputs, centre.layers[0].left.shape[1])
        assert len(shape.tiles) % 2 == 0
        # Each row is there once, at its pair of channels.
        assert np.count_nonzero(rows[:, 0]) == len(centre.layers[0].left)
        tile = shape.tiles.index((1, 1))
        pairs = np.array(np.triu_indices(5))
        place = 4 * right + 4 if right else int(np.flatnonzero((pairs == 4).all(axis=0))[0])
        np.testing.assert_array_equal(rows[16 * tile], centre.layers[0].left[place])


def test_plans_fit_and_do_not_overlap_where_they_must_not() -> None:
    for sizes in SIZES.values():
        shape = shape_of(random_centre(sizes))
        for itemsize in (4, 8):
            for capability in ((8, 0), (8, 6), (9, 0)):
                room = largest_shared(capability)
                found = plans(shape, itemsize, room)
                assert all(one.bytes(itemsize) <= room for one in found)
                assert len({one.rows for one in found}) == len(found)
            for rows in ROWS:
                for is_parked in (False, True):
                    one = plan(shape, rows, itemsize, is_parked=is_parked)
                    # Lanes meet different banks: 4 (mod 16) numbers of 8 bytes, 8 or 24 (mod 32) of 4.
                    assert one.stride % 16 == (4 if itemsize == 8 else 8)
                    widest = max(layer.n_out for layer in shape.layers)
                    assert one.chunks >= one.z + widest
                    assert one.gradients >= one.d_right + 4 * (shape.right or shape.q)
                    assert one.products >= one.tau + shape.parked
                    last = shape.layers[-1].kept + one.kept[-1]
                    assert one.z >= (last if is_parked else one.tau + shape.parked)
                    assert one.tau >= (shape.layers[0].kept if is_parked else last)
    wide = NetworkShape(columns=8, q=400, right=16, layers=shape.layers)
    assert plans(wide, 8, largest_shared((9, 0))) == ()


def test_small_systems_get_small_blocks() -> None:
    rows = (16, 32, 48)
    assert best_rows(rows, (64, 128), 132) == 16
    assert best_rows(rows, (10**6,), 132) == 48
    # All fit at once with 48, but not with 32.
    assert best_rows(rows, (24 * 132, 24 * 132), 132) == 48


def test_networks_of_several_types_in_one_launch() -> None:
    """Each type has its atoms, rows, bias and scratch; what it gets is what it gets alone."""
    counts, firsts, rows = (20, 37), (1, 30), (40, 0)
    centres = [
        random_centre(SIZES["whole layers"]),
        random_centre(Sizes(36, 9, 0, (17, 17), (3, 9), True), 6),
    ]
    shapes = [shape_of(centre) for centre in centres]
    chosen = [plan(shape, 16, 8, is_parked=True) for shape in shapes]
    weights = [weights_of(centre, shape, np.float64) for centre, shape in zip(centres, shapes, strict=True)]
    parts = [Part(*one) for one in zip(shapes, chosen, (offsets for _, offsets in weights), strict=True)]
    moments = random_moments(shapes[0], 60)
    result, energies = aligned(moments), np.full(70, np.nan)
    scratch = aligned(
        np.full(sum(-(-n // 16) * 16 * s.parked for n, s in zip(counts, shapes, strict=True)), np.nan)
    )
    of_types = [
        value
        for t in range(2)
        for value in (counts[t], firsts[t], rows[t], BIAS * (t + 1), aligned(weights[t][0]))
    ]
    launch_on_the_host(
        kernel_text(parts, "double"),
        sum(-(-n // 16) for n in counts),
        128,
        max(one.bytes(8) for one in chosen),
        (np.zeros(SIZE, np.int32), 1, result, energies, np.arange(70, dtype=np.int32), scratch, *of_types),
    )
    for t in range(2):
        here = slice(rows[t], rows[t] + counts[t])
        alone, gradient = run(centres[t], chosen[t], shapes[t], moments[here])
        np.testing.assert_array_equal(result[here], gradient)
        np.testing.assert_allclose(energies[firsts[t] : firsts[t] + counts[t]], alone + BIAS * t, rtol=1e-14)
    np.testing.assert_array_equal(result[37:40], moments[37:40])
    assert np.isnan(energies).sum() == 70 - sum(counts)
    assert not np.isnan(scratch).any()


def small_model(**changes: object) -> CompressedModel:
    centre = replace(random_centre(SIZES["whole layers"]), **changes)
    basis = RadialBasis(shortest=0.5, cutoff=4.0, softness=0.5, n_functions=36, degree=5)
    return CompressedModel(4.0, ((basis,),), (centre,))


HOPPER = CardFeatures((9, 0), 132)


def test_what_is_launched() -> None:
    device = RecordingDevice(HOPPER)
    model = upload_model(device, small_model(), np.float64, network="fused")
    assert model.fused is not None
    assert model.network == "fused"
    moments, energies = device.zeros((50, 4, 36), np.float64), device.zeros(60, np.float64)
    scratch = device.zeros(model.fused.numbers_for({0: 50}), np.float64)
    order, status = device.zeros(60, np.int32), device.zeros(SIZE, np.int32)
    groups = [AtomsOfAType(0, 50, 10, 0)]
    model.fused.action(device, groups, moments, energies, order, status, scratch)
    model.fused.action(device, groups, moments, None, order, status, scratch)
    first, second = device.launches
    assert first.kernel.name == "fused_network"
    assert first.kernel is second.kernel
    assert (first.grid, first.block) == (4, 128)
    assert first.arguments[1] == 1
    assert second.arguments[1] == 0


def test_types_with_one_tile_each_are_evaluated_together() -> None:
    fused = upload_model(RecordingDevice(HOPPER), small_model(), np.float64, network="fused")
    layers = upload_model(RecordingDevice(), small_model(), np.float64)
    one, other, more = Tile(0, 20, 0), Tile(20, 50, 1), Tile(50, 60, 1)
    later = replace(one, stage=1)
    assert in_batches([one, other, later], fused) == ((one, other), (later,))
    assert in_batches([one, other, more], fused) == ((one,), (other,), (more,))
    assert in_batches([one, other], layers) == ((one,), (other,))
    assert arena_size([], fused) == 0
    assert arena_size([(one,)], fused) == 32 * 4 * (8 + 4)


@pytest.mark.parametrize(
    ("features", "options", "words"),
    [
        (None, {}, "needs a card of compute capability 8.0"),
        (CardFeatures((7, 5), 40), {}, "needs a card of compute capability 8.0"),
        (CardFeatures((9, 0), 132), {"dtype": np.float32}, 'set gpu_products = "tf32x3"'),
    ],
)
def test_what_the_kernel_cannot_do_is_said(features, options, words: str) -> None:
    device = RecordingDevice(features)
    with pytest.raises(BackendError, match=re.escape(words)) as caught:
        upload_model(device, small_model(), options.get("dtype", np.float64), network="fused")
    assert 'gpu_network = "layers"' in str(caught.value)


def test_networks_that_the_kernel_cannot_evaluate() -> None:
    centre = random_centre(SIZES["whole layers"])
    first, second, last = centre.layers
    assert why_not(centre) is None
    for layers, words in (
        ((last,), "no hidden layer"),
        ((replace(first, activation="gelu"), second, last), "layer 0 has the activation gelu"),
        ((replace(first, shortcut="identity"), second, last), "layer 0 has the shortcut identity"),
        ((first, replace(second, shortcut="doubling"), last), "layer 1 has the shortcut doubling"),
        ((first, second, replace(last, activation="tanh")), "not linear"),
        ((first, second, replace(last, timestep=np.ones(1))), "time steps"),
    ):
        assert words in str(why_not(replace(centre, layers=layers)))
    gelu = replace(centre, layers=(replace(first, activation="gelu"), second, last))
    with pytest.raises(BackendError, match="activation gelu"):
        fused_networks(RecordingDevice(HOPPER), [centre, gelu], np.float64, "full")
    wide = random_centre(Sizes(8, 300, 16, (20,), (0,), False))
    with pytest.raises(BackendError, match="no room for this model"):
        fused_networks(RecordingDevice(HOPPER), [centre, wide], np.float64, "full")


def test_without_the_compiler_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=re.escape("pip install 'fastdp[cuda12]'")):
        compile_source(SourceKernel("f", ""), (9, 0))
