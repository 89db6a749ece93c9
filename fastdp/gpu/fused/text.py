"""The text of kernels for fitting networks: `network.cu`, with what the networks look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastdp.gpu.fused.shape import CHUNK, NetworkShape, Plan
from fastdp.gpu.kernels.status import FOUND, HALTED, NO_LIST

PRODUCT_CODES = {"double": 0, "tf32": 1, "tf32x3": 3}
"""PRODUCTS of `network.cu`: how many products of TF32 numbers are made of one, 0 for float64."""


@dataclass(frozen=True, eq=False)
class Part:
    """A network as the text needs it.

    Attributes
    ----------
    shape : NetworkShape
    plan : Plan
    offsets : dict of str to tuple of int
        Where what is among the weights, as `weights_of` gives it.
    """

    shape: NetworkShape
    plan: Plan
    offsets: dict[str, tuple[int, ...]]


def kernel_text(parts: Sequence[Part], products: str) -> str:
    """Return the kernel `fused_network` for the networks of one or several types.

    Its arguments: status, stored, moments, energies, atom_of, scratch; for each type n, first, row, bias,
    weights. Blocks of the first type come first. `row` is that of the first atom in moments; in scratch, the
    blocks of a type have their place behind those before.

    Parameters
    ----------
    parts : sequence of Part
        All with the same number of rows.
    products : {"double", "tf32", "tf32x3"}
    """
    code = PRODUCT_CODES[products]
    lines = [
        f"#define PRODUCTS {code}",
        f"typedef {'float' if code else 'double'} Real;",
        "typedef long long Index;",
        "",
    ]
    for number, part in enumerate(parts):
        lines += [f"namespace type{number} {{", preamble(part.shape, part.plan, part.offsets)]
        lines += [network_source(), "}", ""]
    arguments = [
        "const int* status", "Index stored", "Real* moments", "double* energies", "const int* atom_of",
        "Real* scratch",
    ]  # fmt: skip
    for number in range(len(parts)):
        arguments += [
            f"Index n{number}", f"Index first{number}", f"Index row{number}", f"double bias{number}",
            f"const Real* weights{number}",
        ]  # fmt: skip
    lines += [
        'extern "C" __global__ void __launch_bounds__(type0::THREADS, 1)',
        f"fused_network({', '.join(arguments)})",
        "{",
        "    extern __shared__ __align__(16) unsigned char memory[];",
        "    Real* const shared = reinterpret_cast<Real*>(memory);",
        f"    if (status[{HALTED}] != 0 || (status[{FOUND}] & {NO_LIST})) return;",
        "    Index block = blockIdx.x;",
    ]
    for k in range(len(parts)):
        lines += [
            f"    const Index blocks{k} = (n{k} + type{k}::ROWS - 1) / type{k}::ROWS;",
            f"    if (block < blocks{k}) {{",
            f"        type{k}::evaluate(shared, block, n{k}, first{k}, stored,",
            f"                          moments + row{k} * 4 * type{k}::COLUMNS, energies, atom_of, bias{k},",
            f"                          scratch, weights{k});",
            "        return;",
            "    }",
            f"    block -= blocks{k};",
            f"    scratch += blocks{k} * type{k}::PARKED;",
        ]
    return "\n".join([*lines, "}", ""])


def preamble(shape: NetworkShape, chosen: Plan, offsets: dict[str, tuple[int, ...]]) -> str:
    """Return what stands in front of `network.cu` for one type.

    Parameters
    ----------
    shape : NetworkShape
    chosen : Plan
    offsets : dict of str to tuple of int
        As `weights_of` gives them.
    """
    numbers = {
        "CHUNK": CHUNK,
        "ROWS": chosen.rows,
        "STRIDE": chosen.stride,
        "COLUMNS": shape.columns,
        "Q": shape.q,
        "RIGHT": shape.right,
        "LAYERS": len(shape.layers),
        "PRODUCT_TILES": len(shape.tiles),
        "TAU_AT": chosen.tau,
        "RIGHT_AT": chosen.right,
        "Z_AT": chosen.z,
        "CHUNKS_AT": chosen.chunks,
        "PRODUCTS_AT": chosen.products,
        "GRADIENTS_AT": chosen.gradients,
        "D_LEFT_AT": chosen.d_left,
        "D_RIGHT_AT": chosen.d_right,
        "IS_PARKED": int(chosen.is_parked),
    }
    rows = {
        "N_OUT": [layer.n_out for layer in shape.layers],
        "RANK": [layer.rank for layer in shape.layers],
        "KEPT": [layer.kept for layer in shape.layers],
        "KEPT_AT": chosen.kept,
        "HAS_SHORTCUT": [int(layer.shortcut) for layer in shape.layers],
        "HAS_TIMESTEP": [int(layer.timestep) for layer in shape.layers],
    }
    of_layers = ("LEFT_FORWARD_AT", "LEFT_BACKWARD_AT", "RIGHT_FORWARD_AT", "RIGHT_BACKWARD_AT")
    for name, found in offsets.items():
        if name in (*of_layers, "BIAS_AT", "TIMESTEP_AT"):
            rows[name] = found
        else:
            numbers[name] = found[0]
    tables = {"TILE_LEFT": [a for a, _ in shape.tiles], "TILE_RIGHT": [b for _, b in shape.tiles]}
    lines = [
        *(f"constexpr int {name} = {value};" for name, value in numbers.items()),
        *(f"constexpr int {name}[] = {_braces(values)};" for name, values in rows.items()),
        *(f"__constant__ int {name}[] = {_braces(values)};" for name, values in tables.items()),
    ]
    return "\n".join(lines) + "\n\n"


def _braces(values: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


@cache
def network_source() -> str:
    """Return the text of `network.cu`."""
    return (files("fastdp.gpu.fused") / "network.cu").read_text(encoding="utf-8")
