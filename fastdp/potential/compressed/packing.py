"""A compressed model as the flat arrays and tables that kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdp.potential.compressed import network_kernels as layout
from fastdp.potential.compressed.activation_kernels import activation_code
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.pair_kernels import (
    INVERSE_SPACING,
    ORIGIN,
    PAIR_COLUMNS,
    SHORTEST_SQUARED,
    SOFTNESS,
)
from fastdp.potential.compressed.splines import segment_polynomials


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
    bias : (n_types,) float64
        eV.
    """

    polynomials: NDArray
    pair_tables: NDArray[np.float64]
    type_table: NDArray[np.int64]
    layers: NDArray[np.int64]
    parameters: NDArray
    bias: NDArray[np.float64]


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

    type_table = np.zeros((model.n_types, layout.TYPE_COLUMNS), np.int64)
    layers: list[NDArray[np.int64]] = []
    for row, centre in zip(type_table, model.centres, strict=True):
        row[layout.RANK] = centre.rank
        row[layout.WIDTH] = centre.layers[0].left.shape[0]
        row[layout.FIRST_LAYER] = len(layers)
        row[layout.N_LAYERS] = len(centre.layers)
        row[layout.RADIAL] = add(centre.radial)
        row[layout.ANGULAR] = add(centre.angular)
        row[layout.CONSTANT] = add(centre.constant)
        if centre.axis_matrix is None:
            row[layout.PRODUCT] = layout.GRAM_PRODUCT
        else:
            row[layout.PRODUCT] = layout.AXIS_PRODUCT
            row[layout.AXIS] = centre.axis_matrix.shape[1]
            row[layout.AXIS_MATRIX] = add(centre.axis_matrix)
        for layer in centre.layers:
            entry = np.zeros(layout.LAYER_COLUMNS, np.int64)
            entry[layout.N_IN] = layer.left.shape[0]
            entry[layout.N_OUT] = len(layer.bias)
            entry[layout.LEFT] = add(layer.left)
            if layer.right is not None:
                entry[layout.FACTOR_RANK] = layer.right.shape[0]
                entry[layout.RIGHT] = add(layer.right)
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
    )
