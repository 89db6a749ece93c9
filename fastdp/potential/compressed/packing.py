"""A compressed model as the flat arrays and tables that kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.potential.compressed import network_kernels as layout
from fastdp.potential.compressed.activation_kernels import activation_code
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.matrix_kernels import padded, panels, stored_width
from fastdp.potential.compressed.pair_kernels import (
    INVERSE_SPACING,
    ORIGIN,
    PAIR_COLUMNS,
    SHORTEST_SQUARED,
    SOFTNESS,
)
from fastdp.potential.compressed.simd import BLOCK
from fastdp.potential.compressed.splines import segment_polynomials
from fastdp.potential.compressed.triple_basis import TripleForm
from fastdp.potential.compressed.triple_kernels import (
    SOFTNESS_SQUARED,
    TRIPLE_COLUMNS,
    TRIPLE_INVERSE_SPACING,
    TRIPLE_ORIGIN,
)
from fastdp.potential.compressed.triple_neighbours import CUTOFF, INNER, PROTECTION, SWITCH_COLUMNS, WIDTH


@dataclass(frozen=True)
class PackedModel:
    """The arrays of a compressed model in one precision.

    Attributes
    ----------
    polynomials : (order, order) float32 or float64
    pair_tables : (n_types, n_types, PAIR_COLUMNS) float64
    type_table : (n_types, TYPE_COLUMNS) int64
    layers : (n_layers of all types, LAYER_COLUMNS) int64
    parameters : (size,) float32 or float64
        Matrices in panels for this machine, once for the way forwards and once, transposed, for that back.
    bias : (n_types,) float64
        eV.
    switch : (SWITCH_COLUMNS,) float64
        Of the three-body part, as are the following; empty if there is none.
    scales : (n_types, n_types) float64
    triple_tables : (n_types, n_pairs, TRIPLE_COLUMNS) float64
    """

    polynomials: NDArray
    pair_tables: NDArray[np.float64]
    type_table: NDArray[np.int64]
    layers: NDArray[np.int64]
    parameters: NDArray
    bias: NDArray[np.float64]
    switch: NDArray[np.float64]
    scales: NDArray[np.float64]
    triple_tables: NDArray[np.float64]


def pack(model: CompressedModel, dtype: DTypeLike) -> PackedModel:
    """Lay a model out for the kernels.

    Parameters
    ----------
    model : CompressedModel
    dtype : float32 or float64
        Of the parameters.

    Returns
    -------
    PackedModel
    """
    chunks: list[NDArray] = []
    size = 0

    def add(values: NDArray) -> int:
        nonlocal size
        start = size
        chunks.append(np.ascontiguousarray(values, dtype=np.float64).ravel())
        size += values.size
        return start

    def stride(columns: int) -> int:
        return 1 if columns == 1 else stored_width(columns, dtype)

    type_table = np.zeros((model.n_types, layout.TYPE_COLUMNS), np.int64)
    layers: list[NDArray[np.int64]] = []
    for row, centre in zip(type_table, model.centres, strict=True):
        width = centre.layers[0].left.shape[0]
        row[layout.RANK] = centre.rank
        # Blocks of eight are read from any column on.
        row[layout.RANK_STRIDE] = stored_width(centre.rank, dtype) + BLOCK
        row[layout.WIDTH] = width
        row[layout.WIDTH_STRIDE] = padded(width + BLOCK, BLOCK)
        row[layout.ANGULAR_COLUMNS] = model.n_types * model.n_functions
        row[layout.FIRST_LAYER] = len(layers)
        row[layout.N_LAYERS] = len(centre.layers)
        for place, back, values in (
            (layout.RADIAL, layout.RADIAL_BACK, centre.radial),
            (layout.ANGULAR, layout.ANGULAR_BACK, centre.angular[: row[layout.ANGULAR_COLUMNS]]),
        ):
            if centre.sums and place == layout.ANGULAR:
                continue
            row[place] = add(panels(values, dtype, strided=True))
            row[back] = add(panels(values.T, dtype, strided=True))
        row[layout.CONSTANT] = add(centre.constant)
        if centre.sums:
            row[layout.PRODUCT] = layout.NO_PRODUCT
        elif centre.axis_matrix is None:
            row[layout.PRODUCT] = layout.GRAM_PRODUCT
        else:
            row[layout.PRODUCT] = layout.AXIS_PRODUCT
            row[layout.AXIS] = centre.axis_matrix.shape[1]
            row[layout.AXIS_STRIDE] = stored_width(centre.axis_matrix.shape[1], dtype) + BLOCK
            row[layout.AXIS_MATRIX] = add(panels(centre.axis_matrix, dtype))
            row[layout.AXIS_BACK] = add(panels(centre.axis_matrix.T, dtype))
        in_stride = int(row[layout.WIDTH_STRIDE])
        for layer in centre.layers:
            entry = np.zeros(layout.LAYER_COLUMNS, np.int64)
            entry[layout.N_IN], entry[layout.N_OUT] = layer.left.shape[0], len(layer.bias)
            entry[layout.IN_STRIDE], entry[layout.OUT_STRIDE] = in_stride, stride(len(layer.bias))
            in_stride = int(entry[layout.OUT_STRIDE])
            entry[layout.LEFT] = add(panels(layer.left, dtype))
            entry[layout.LEFT_BACK] = add(panels(layer.left.T, dtype))
            if layer.right is not None:
                rank = layer.right.shape[0]
                entry[layout.FACTOR_RANK], entry[layout.FACTOR_STRIDE] = rank, stride(rank)
                entry[layout.RIGHT] = add(panels(layer.right, dtype))
                entry[layout.RIGHT_BACK] = add(panels(layer.right.T, dtype))
            entry[layout.BIAS] = add(layer.bias)
            entry[layout.TIMESTEP] = layout.NONE if layer.timestep is None else add(layer.timestep)
            entry[layout.ACTIVATION], threshold = activation_code(layer.activation)
            entry[layout.THRESHOLD] = add(np.array([threshold]))
            entry[layout.SHORTCUT] = layout.SHORTCUT_CODES[layer.shortcut]
            layers.append(entry)

    pair_tables = np.zeros((model.n_types, model.n_types, PAIR_COLUMNS))
    for a, bases in enumerate(model.bases):
        for b, basis in enumerate(bases):
            pair_tables[a, b, SHORTEST_SQUARED] = basis.shortest**2
            pair_tables[a, b, SOFTNESS] = basis.softness
            pair_tables[a, b, ORIGIN] = basis.origin
            pair_tables[a, b, INVERSE_SPACING] = basis.inverse_spacing
    return PackedModel(
        polynomials=np.array(segment_polynomials(model.degree), dtype=dtype),
        pair_tables=pair_tables,
        type_table=type_table,
        layers=np.array(layers),
        parameters=np.concatenate(chunks).astype(dtype),
        bias=np.array([centre.bias for centre in model.centres]),
        **_triples(model.triples),
    )


def _triples(form: TripleForm | None) -> dict[str, NDArray[np.float64]]:
    if form is None:
        return {"switch": np.zeros(0), "scales": np.zeros((0, 0)), "triple_tables": np.zeros((0, 0, 0))}
    tables = np.zeros((len(form.bases), len(form.bases[0]), TRIPLE_COLUMNS))
    for of_centre, bases in zip(tables, form.bases, strict=True):
        for row, basis in zip(of_centre, bases, strict=True):
            row[SOFTNESS_SQUARED] = basis.softness**2
            row[TRIPLE_ORIGIN] = basis.origin
            row[TRIPLE_INVERSE_SPACING] = basis.inverse_spacing
    switch = np.zeros(SWITCH_COLUMNS)
    switch[[INNER, CUTOFF, WIDTH, PROTECTION]] = form.inner, form.cutoff, form.width, form.protection
    return {"switch": switch, "scales": np.ascontiguousarray(form.scale), "triple_tables": tables}
