"""Write small random se_e2_a models as frozen graphs, of every kind and generation that fastdp reads.

    python tests/make_models.py FOLDER        writes all of them
    from make_models import MODELS, write_model

The graphs hold the nodes that lead from the environment op to the energies, named and connected as DeePMD-kit
does it, and those that describe the model; no nodes for forces. TensorFlow evaluates them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.model.readers.graph_def import BOOL, DOUBLE, FLOAT, INT32, MESSAGES, STRING

DTYPES = {"float64": DOUBLE, "float32": FLOAT, "int32": INT32, "bool": BOOL}


@dataclass(frozen=True)
class Generation:
    """What graphs of a release of DeePMD-kit look like."""

    environment: str = "ProdEnvMatA"
    typed: bool = True
    scope: str = "filter_type_"
    attributes_at_root: bool = False
    type_map: bool = True
    fitting_counts: tuple[str, ...] = ("dfparam", "daparam")
    version: str | None = None
    old_layers: bool = True
    training_input: bool = False
    separate_bias: bool = False
    original_selection: bool = False
    output_shift: bool = False
    outputs: tuple[str, str] = ("o_atom_energy", "o_energy")


GENERATIONS = {
    "0.12": Generation(
        environment="DescrptNorot",
        scope="DS_layer_type_",
        attributes_at_root=True,
        type_map=False,
        fitting_counts=(),
        outputs=("atom_energy_test", "energy_test"),
    ),
    "1.0": Generation(environment="DescrptSeA", typed=False, fitting_counts=("dfparam",)),
    "1.1": Generation(environment="DescrptSeA", typed=False),
    "1.3": Generation(environment="DescrptSeA"),
    "2.0": Generation(version="1.0", old_layers=False, training_input=True),
    "2.1": Generation(version="1.1", old_layers=False, training_input=True),
    "2.1.5": Generation(
        version="1.1", old_layers=False, training_input=True, separate_bias=True, original_selection=True
    ),
    "3.2": Generation(
        version="1.1",
        old_layers=False,
        training_input=True,
        separate_bias=True,
        original_selection=True,
        output_shift=True,
    ),
}


@dataclass(frozen=True)
class ModelSpec:
    """A model to write; the weights follow from the seed."""

    generation: str = "3.2"
    type_names: tuple[str, ...] = ("O", "H")
    selection: tuple[int, ...] = (24, 48)
    trained_selection: int | None = None
    cutoff: float = 4.2
    inner: float = 1.1
    embedding: tuple[int, ...] = (4, 8, 16)
    axis_neurons: int = 4
    fitting: tuple[int, ...] = (12, 12, 12)
    embedding_activation: str = "tanh"
    fitting_activation: str = "tanh"
    one_sided: bool = False
    embedding_timestep: bool = False
    fitting_timestep: bool = True
    one_fitting_network: bool = False
    exclude_types: tuple[tuple[int, int], ...] = ()
    davg_zero: bool = False
    precision: str = "float64"
    vacuum: tuple[bool, ...] = ()
    out_std: tuple[float, ...] = ()
    out_bias: tuple[float, ...] = ()
    shortest_distance: float = 0.85
    seed: int = 1

    @property
    def n_types(self) -> int:
        return len(self.type_names)


@dataclass
class GraphWriter:
    """Collects the nodes of a GraphDef."""

    graph: Any = field(default_factory=MESSAGES["GraphDef"])
    names: set[str] = field(default_factory=set)

    def node(self, name: str, operation: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node; give it the next free name as TensorFlow does."""
        unique, count = name, 0
        while unique in self.names:
            count += 1
            unique = f"{name}_{count}"
        self.names.add(unique)
        node = self.graph.node.add(name=unique, op=operation, input=list(inputs))
        for key, value in attributes.items():
            _set(node.attr.add(key=key).value, value)
        return unique

    def constant(self, name: str, value: Any, dtype: str | None = None) -> str:
        """Add a constant."""
        if isinstance(value, (str, bytes)):
            data = value.encode() if isinstance(value, str) else value
            tensor = MESSAGES["Tensor"](dtype=STRING, tensor_shape=_shape(()), string_val=[data])
            return self.node(name, "Const", dtype=Type(STRING), value=tensor)
        array = np.asarray(value)
        array = array.astype(dtype or ("int32" if array.dtype.kind == "i" else array.dtype))
        kind = DTYPES[array.dtype.name]
        tensor = MESSAGES["Tensor"](
            dtype=kind, tensor_shape=_shape(array.shape), tensor_content=np.ascontiguousarray(array).tobytes()
        )
        return self.node(name, "Const", dtype=Type(kind), value=tensor)

    def variable(self, name: str, value: Any, dtype: str) -> str:
        """Add a constant and the copy through which graphs read what was a variable."""
        constant = self.constant(name, value, dtype)
        return self.node(f"{constant}/read", "Identity", [constant], T=Type(DTYPES[dtype]))


@dataclass(frozen=True)
class Type:
    """A data type as an attribute."""

    number: int


def _shape(extents: Sequence[int]) -> Any:
    shape = MESSAGES["TensorShape"]()
    for extent in extents:
        shape.dim.add(size=int(extent))
    return shape


def _set(attribute: Any, value: Any) -> None:
    match value:
        case Type():
            attribute.type = value.number
        case bool():
            attribute.b = value
        case int():
            attribute.i = value
        case float():
            attribute.f = value
        case bytes():
            attribute.s = value
        case list():
            attribute.list.i.extend(value)
        case _:
            attribute.tensor.CopyFrom(value)


class ModelWriter:
    """Writes one model; every step returns the name of the node that holds its result."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.era = GENERATIONS[spec.generation]
        self.random = np.random.default_rng(spec.seed)
        self.writer = GraphWriter()
        self.kind = Type(DTYPES[spec.precision])
        self.n_slots = sum(spec.selection)

    def write(self, path: Path) -> None:
        """Write the graph to a file."""
        path.write_bytes(self.graph_def().SerializeToString())

    def graph_def(self) -> Any:
        """Return the graph."""
        self._placeholders()
        self._descriptions()
        rows = self._environment_rows()
        descriptors = self._descriptors(rows)
        self._energies(descriptors)
        return self.writer.graph

    # Description -----------------------------------------------------------------------------------

    def _placeholders(self) -> None:
        shapes = {"t_coord": (-1,), "t_type": (-1,), "t_natoms": (self.spec.n_types + 2,), "t_mesh": (-1,)}
        for name in (*shapes, "t_box"):
            real = name in ("t_coord", "t_box")
            self.writer.node(name, "Placeholder", dtype=Type(DOUBLE if real else INT32))

    def _descriptions(self) -> None:
        spec, era, writer = self.spec, self.era, self.writer
        prefix = "t_" if era.attributes_at_root else "descrpt_attr/"
        writer.constant(f"{prefix}rcut", spec.cutoff)
        writer.constant(f"{prefix}ntypes", spec.n_types)
        if era.type_map:
            writer.constant("model_attr/tmap", " ".join(spec.type_names))
            writer.constant("model_attr/model_type", "ener")
        if era.version:
            writer.constant("model_attr/model_version", era.version)
        for name in era.fitting_counts:
            writer.constant(f"fitting_attr/{name}", 0)
        if era.original_selection:
            total = spec.trained_selection or self.n_slots
            first = (total - sum(spec.selection[1:]), *spec.selection[1:])
            writer.constant("descrpt_attr/sel", np.array(spec.selection))
            writer.constant("descrpt_attr/original_sel", np.array(first))
        if era.training_input:
            descriptor = {"type": "se_e2_a", "exclude_types": [list(pair) for pair in spec.exclude_types]}
            script = {"model": {"type_map": list(spec.type_names), "descriptor": descriptor}}
            writer.constant("train_attr/training_script", json.dumps(script))
            writer.constant("train_attr/min_nbor_dist", spec.shortest_distance)
            writer.constant("model_type", "original_model")

    # Environment -----------------------------------------------------------------------------------

    def statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and spread (n_types, n_slots, 4)."""
        generator = np.random.default_rng(self.spec.seed + 1000)
        shape = (self.spec.n_types, self.n_slots, 4)
        mean, spread = np.zeros(shape), np.empty(shape)
        if not self.spec.davg_zero:
            mean[..., 0] = generator.uniform(0.03, 0.08, (self.spec.n_types, 1))
        spread[..., 0] = generator.uniform(0.1, 0.2, (self.spec.n_types, 1))
        spread[..., 1:] = generator.uniform(0.08, 0.15, (self.spec.n_types, 1, 1))
        return mean, spread

    def _environment_rows(self) -> str:
        """Make (n_atoms, n_slots · 4), all atoms of all types."""
        spec, writer = self.spec, self.writer
        root = "t_" if self.era.attributes_at_root else "descrpt_attr/t_"
        mean, spread = self.statistics()
        inputs = [
            "t_coord", "t_type", "t_natoms", "t_box", "t_mesh",
            writer.variable(f"{root}avg", mean.reshape(spec.n_types, -1), "float64"),
            writer.variable(f"{root}std", spread.reshape(spec.n_types, -1), "float64"),
        ]  # fmt: skip
        typed = {"T": Type(DOUBLE)} if self.era.typed else {}
        environment = writer.node(
            self.era.environment,
            self.era.environment,
            inputs,
            rcut_a=-1.0,
            rcut_r=spec.cutoff,
            rcut_r_smth=spec.inner,
            sel_a=list(spec.selection),
            sel_r=[0] * spec.n_types,
            **typed,
        )
        return self._reshape("Reshape", environment, [-1, self.n_slots * 4], Type(DOUBLE))

    # Small pieces ----------------------------------------------------------------------------------

    def _reshape(self, name: str, value: str, shape: Sequence[int], kind: Type | None = None) -> str:
        target = self.writer.constant(f"{name}/shape", np.array(shape))
        return self.writer.node(name, "Reshape", [value, target], T=kind or self.kind, Tshape=Type(INT32))

    def _slice(self, name: str, value: str, begin: Sequence[int], size: Sequence[int]) -> str:
        start = self.writer.constant(f"{name}/begin", np.array(begin))
        extent = self.writer.constant(f"{name}/size", np.array(size))
        return self.writer.node(name, "Slice", [value, start, extent], T=self.kind, Index=Type(INT32))

    def _concatenate(self, name: str, values: Sequence[str], axis: int, kind: Type | None = None) -> str:
        kind = kind or self.kind
        if len(values) == 1:
            return self.writer.node(f"{name}/concat", "Identity", values, T=kind)
        inputs = [*values, self.writer.constant(f"{name}/axis", axis)]
        return self.writer.node(name, "ConcatV2", inputs, T=kind, N=len(values), Tidx=Type(INT32))

    def _binary(self, name: str, operation: str, a: str, b: str) -> str:
        return self.writer.node(name, operation, [a, b], T=self.kind)

    def _scalar(self, name: str, value: float) -> str:
        return self.writer.constant(name, value, self.spec.precision)

    def _cast(self, value: str, source: str, target: str) -> str:
        if source == target:
            return value
        kinds = {"SrcT": Type(DTYPES[source]), "DstT": Type(DTYPES[target])}
        return self.writer.node("Cast", "Cast", [value], **kinds, Truncate=False)

    def _number_of(self, index: int) -> str:
        """Make t_natoms[index]."""
        ends = [
            self.writer.constant(f"strided_slice/stack_{k}", [v]) for k, v in enumerate((index, index + 1, 1))
        ]
        return self.writer.node(
            "strided_slice", "StridedSlice", ["t_natoms", *ends], T=Type(INT32), Index=Type(INT32),
            shrink_axis_mask=1, begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0,
        )  # fmt: skip

    def _atoms_of_type(self, value: str, alpha: int) -> str:
        """Make the rows of `value` that belong to atoms of one type."""
        writer = self.writer
        start = writer.constant("add/x", 0)
        for t in range(alpha):
            start = writer.node("add", "AddV2", [start, self._number_of(2 + t)], T=Type(INT32))
        pack = {"T": Type(INT32), "N": 2, "axis": 0}
        begin = writer.node("Slice/begin", "Pack", [start, writer.constant("Slice/begin/1", 0)], **pack)
        rest = writer.constant("Slice/size/1", -1)
        size = writer.node("Slice/size", "Pack", [self._number_of(2 + alpha), rest], **pack)
        return writer.node("Slice", "Slice", [value, begin, size], T=Type(DOUBLE), Index=Type(INT32))

    # Networks --------------------------------------------------------------------------------------

    def _activation(self, scope: str, name: str, x: str) -> str:
        writer = self.writer
        single = {
            "tanh": "Tanh",
            "relu": "Relu",
            "relu6": "Relu6",
            "softplus": "Softplus",
            "sigmoid": "Sigmoid",
            "gelu": "Gelu" if self.era.version is None else "GeluCustom",
        }
        if name == "linear":
            return x
        if name in single:
            return writer.node(f"{scope}/{single[name]}", single[name], [x], T=self.kind)
        if name == "gelu_tf":
            return self._gelu_of_tensorflow(scope, x)
        silu = self._binary(
            f"{scope}/mul", "Mul", x, writer.node(f"{scope}/Sigmoid", "Sigmoid", [x], T=self.kind)
        )
        if name == "silu":
            return silu
        threshold = float(name.partition(":")[2] or 3.0)
        sigma = 1.0 / (1.0 + np.exp(-threshold))
        slope, level = sigma + threshold * sigma * (1.0 - sigma), threshold * sigma
        limit = self._scalar(f"{scope}/Less/y", threshold)
        below = writer.node(f"{scope}/Less", "Less", [x, limit], T=self.kind)
        above = self._binary(f"{scope}/sub", "Sub", x, self._scalar(f"{scope}/sub/y", threshold))
        above = self._binary(f"{scope}/mul", "Mul", self._scalar(f"{scope}/mul/x", slope), above)
        above = writer.node(f"{scope}/Tanh", "Tanh", [above], T=self.kind)
        above = self._binary(f"{scope}/add", "AddV2", above, self._scalar(f"{scope}/add/y", level))
        return writer.node(f"{scope}/SelectV2", "SelectV2", [below, silu, above], T=self.kind)

    def _gelu_of_tensorflow(self, scope: str, x: str) -> str:
        scope = f"{scope}/Gelu"
        single = self.writer.constant(f"{scope}/Cast/x", 0.044715, "float32")
        coefficient = self._cast(single, "float32", self.spec.precision)
        cube = self._binary(f"{scope}/Pow", "Pow", x, self._scalar(f"{scope}/Pow/y", 3.0))
        inner = self._binary(
            f"{scope}/add", "AddV2", x, self._binary(f"{scope}/mul", "Mul", coefficient, cube)
        )
        inner = self._binary(
            f"{scope}/mul", "Mul", self._scalar(f"{scope}/mul/x", np.sqrt(2.0 / np.pi)), inner
        )
        tanh = self.writer.node(f"{scope}/Tanh", "Tanh", [inner], T=self.kind)
        one = self._binary(f"{scope}/add", "AddV2", self._scalar(f"{scope}/add/x", 1.0), tanh)
        half = self._binary(f"{scope}/mul", "Mul", self._scalar(f"{scope}/mul/x", 0.5), x)
        return self._binary(f"{scope}/mul", "Mul", half, one)

    def _weights(self, names: tuple[str, str, str], n_in: int, n_out: int, timestep: bool) -> list[str]:
        """Add the variables of a layer and return the nodes that read them."""
        random, precision = self.random, self.spec.precision
        row = (1, n_out) if self.era.old_layers and "filter" in names[1] else (n_out,)
        matrix = random.normal(size=(n_in, n_out)) * 1.3 / np.sqrt(n_in)
        reads = [
            self.writer.variable(names[0], matrix, precision),
            self.writer.variable(names[1], 0.5 * random.normal(size=row), precision),
        ]
        if timestep:
            reads.append(self.writer.variable(names[2], random.uniform(0.3, 0.8, n_out), precision))
        return reads

    def _hidden(self, scope: str, x: str, reads: list[str], n_out: int, activation: str) -> str:
        """Make φ(x W + b) · t, with the timestep if `reads` has one."""
        product = self.writer.node(
            f"{scope}/MatMul", "MatMul", [x, reads[0]], T=self.kind, transpose_a=False, transpose_b=False
        )
        old = self.era.old_layers
        total = self._binary(
            f"{scope}/add" if old else f"{scope}/BiasAdd", "Add" if old else "BiasAdd", product, reads[1]
        )
        hidden = self._activation(scope, activation, total)
        if not old:
            hidden = self._reshape(f"{scope}/Reshape", hidden, [-1, n_out])
        return self._binary(f"{scope}/mul", "Mul", hidden, reads[2]) if len(reads) > 2 else hidden

    # Descriptor ------------------------------------------------------------------------------------

    def _descriptors(self, rows: str) -> str:
        """Make (n_atoms, K · M) in float64."""
        spec = self.spec
        if spec.one_sided:
            if spec.exclude_types:
                rows = self._masked(rows)
            return self._filter(rows, "filter_type_all", None)
        parts = [
            self._filter(self._atoms_of_type(rows, alpha), f"{self.era.scope}{alpha}", alpha)
            for alpha in range(spec.n_types)
        ]
        return self._concatenate("concat", parts, 0, Type(DOUBLE))

    def _is_excluded(self, alpha: int | None, beta: int) -> bool:
        return (alpha, beta) in self.spec.exclude_types or (beta, alpha) in self.spec.exclude_types

    def _masked(self, rows: str) -> str:
        spec = self.spec
        mask = np.ones((spec.n_types, self.n_slots * 4))
        columns = np.repeat(np.arange(spec.n_types), 4 * np.array(spec.selection))
        for alpha in range(spec.n_types):
            for beta in range(spec.n_types):
                if self._is_excluded(alpha, beta):
                    mask[alpha, columns == beta] = 0.0
        gathered = self.writer.node(
            "embedding_lookup", "GatherV2",
            [self.writer.constant("Const", mask), "t_type", self.writer.constant("embedding_lookup/axis", 0)],
            Tparams=Type(DOUBLE), Tindices=Type(INT32), Taxis=Type(INT32), batch_dims=0,
        )  # fmt: skip
        return self.writer.node("mul", "Mul", [rows, gathered], T=Type(DOUBLE))

    def _filter(self, rows: str, scope: str, alpha: int | None) -> str:
        """Make the descriptor of the atoms whose environment rows are given."""
        spec, writer = self.spec, self.writer
        rows = self._cast(rows, "float64", spec.precision)
        channels = spec.embedding[-1]
        starts = np.concatenate(([0], np.cumsum(spec.selection)))
        if all(self._is_excluded(alpha, beta) for beta in range(spec.n_types)):
            product = writer.node(
                "ZerosLike", "ZerosLike", [self._slice("Slice", rows, [0, 0], [-1, 1])], T=self.kind
            )
            zeros = writer.constant("Tile/multiples", [1, channels * spec.axis_neurons])
            product = writer.node("Tile", "Tile", [product, zeros], T=self.kind, Tmultiples=Type(INT32))
            return self._cast(product, spec.precision, "float64")
        sections, outputs = [], []
        for beta in range(spec.n_types):
            if not self._is_excluded(alpha, beta):
                width = spec.selection[beta]
                section = self._slice(f"{scope}/Slice", rows, [0, 4 * starts[beta]], [-1, 4 * width])
                sections.append(self._slots(scope, section, width))
                outputs.append(self._embedding(scope, beta, section, width))
        matrix = {"T": self.kind, "adj_x": True, "adj_y": False}
        if self.era.old_layers:
            left = self._concatenate(f"{scope}/concat", sections, 1)
            right = self._concatenate(f"{scope}/concat", outputs, 1)
            total = writer.node(f"{scope}/MatMul", "BatchMatMulV2", [left, right], **matrix)
            scale = self._scalar(f"{scope}/mul/y", 1.0 / self.n_slots)
            scaled = self._binary(f"{scope}/mul", "Mul", total, scale)
        else:
            products = [
                writer.node(f"{scope}/MatMul", "BatchMatMulV2", [section, output], **matrix)
                for section, output in zip(sections, outputs, strict=True)
            ]
            total = writer.node(f"{scope}/AddN", "AddN", products, T=self.kind, N=len(products))
            slots = self._scalar(f"{scope}/truediv/y", float(spec.trained_selection or self.n_slots))
            scaled = self._binary(f"{scope}/truediv", "RealDiv", total, slots)
        axis_part = self._slice(f"{scope}/Slice", scaled, [0, 0, 0], [-1, -1, spec.axis_neurons])
        product = writer.node(f"{scope}/MatMul", "BatchMatMulV2", [scaled, axis_part], **matrix)
        flat = self._reshape(f"{scope}/Reshape", product, [-1, channels * spec.axis_neurons])
        return self._cast(flat, spec.precision, "float64")

    def _slots(self, scope: str, section: str, width: int) -> str:
        """Make (n, width, 4); the number of atoms is asked for, since width may be zero."""
        writer, whole = self.writer, Type(INT32)
        shape = writer.node(f"{scope}/Shape", "Shape", [section], T=self.kind, out_type=whole)
        ends = [writer.constant(f"{scope}/strided_slice/stack_{k}", [v]) for k, v in enumerate((0, 1, 1))]
        atoms = writer.node(
            f"{scope}/strided_slice", "StridedSlice", [shape, *ends], T=whole, Index=whole, shrink_axis_mask=1
        )
        extents = [
            writer.constant(f"{scope}/Reshape/shape/{k}", v) for k, v in enumerate((width, 4), start=1)
        ]
        target = writer.node(f"{scope}/Reshape/shape", "Pack", [atoms, *extents], T=whole, N=3, axis=0)
        return writer.node(f"{scope}/Reshape", "Reshape", [section, target], T=self.kind, Tshape=whole)

    def _embedding(self, scope: str, beta: int, section: str, width: int) -> str:
        """Make G of every slot of a section, (n, width, K)."""
        spec = self.spec
        x = self._reshape(f"{scope}/Reshape", section, [-1, 4])
        x = self._reshape(f"{scope}/Reshape", self._slice(f"{scope}/Slice", x, [0, 0], [-1, 1]), [-1, 1])
        n_in = 1
        for number, n_out in enumerate(spec.embedding, start=1):
            names = tuple(f"{scope}/{part}_{number}_{beta}" for part in ("matrix", "bias", "idt"))
            reads = self._weights(names, n_in, n_out, spec.embedding_timestep)
            used = reads if n_out in (n_in, 2 * n_in) else reads[:2]
            hidden = self._hidden(scope, x, used, n_out, spec.embedding_activation)
            if n_out == 2 * n_in:
                x = self._concatenate(f"{scope}/concat", [x, x], 1)
            x = self._binary(f"{scope}/add", "AddV2", x, hidden) if n_out in (n_in, 2 * n_in) else hidden
            n_in = n_out
        return self._reshape(f"{scope}/Reshape", x, [-1, width, n_in])

    # Fitting ---------------------------------------------------------------------------------------

    def _energies(self, descriptors: str) -> None:
        spec, writer = self.spec, self.writer
        if spec.one_fitting_network:
            energies = self._fitting(descriptors, "", any(spec.vacuum))
        else:
            vacuum = spec.vacuum or (False,) * spec.n_types
            parts = [
                self._fitting(self._atoms_of_type(descriptors, alpha), f"_type_{alpha}", vacuum[alpha])
                for alpha in range(spec.n_types)
            ]
            energies = self._concatenate("concat", parts, 0, Type(DOUBLE))
        energies = self._reshape("Reshape", energies, [-1], Type(DOUBLE))
        if self.era.separate_bias:
            bias = -2.0 - np.arange(spec.n_types)
            energies = self._per_type("fitting_attr/t_bias_atom_e", bias, "AddV2", energies)
        if self.era.output_shift:
            std = np.array(spec.out_std or (1.0,) * spec.n_types).reshape(1, -1, 1)
            bias = np.array(spec.out_bias or (0.0,) * spec.n_types).reshape(1, -1, 1)
            energies = self._per_type("model_attr/model_attr/t_out_std", std, "Mul", energies)
            energies = self._per_type("model_attr/model_attr/t_out_bias", bias, "AddV2", energies)
        atom_energy, energy = self.era.outputs
        pack = {"T": Type(INT32), "N": 2, "axis": 0}
        shape = writer.node(
            f"{atom_energy}/shape",
            "Pack",
            [writer.constant(f"{atom_energy}/shape/0", -1), self._number_of(0)],
            **pack,
        )
        writer.node(atom_energy, "Reshape", [energies, shape], T=Type(DOUBLE), Tshape=Type(INT32))
        axis = writer.constant(f"{energy}/reduction_indices", 1)
        writer.node(energy, "Sum", [atom_energy, axis], T=Type(DOUBLE), Tidx=Type(INT32), keep_dims=False)

    def _per_type(self, name: str, values: NDArray[np.float64], operation: str, energies: str) -> str:
        """Make energies (+ or ·) the value of each atom's type."""
        writer, kind = self.writer, Type(DOUBLE)
        table = self._reshape("Reshape", writer.variable(name, values, "float64"), [-1], kind)
        axis = writer.constant("GatherV2/axis", 0)
        gathered = writer.node(
            "GatherV2", "GatherV2", [table, "t_type", axis],
            Tparams=kind, Tindices=Type(INT32), Taxis=Type(INT32), batch_dims=0,
        )  # fmt: skip
        return writer.node("add" if operation == "AddV2" else "mul", operation, [energies, gathered], T=kind)

    def _fitting(self, descriptors: str, suffix: str, vacuum: bool) -> str:
        """Make the energies (n, 1) of the given descriptors."""
        spec, writer = self.spec, self.writer
        widths = (spec.embedding[-1] * spec.axis_neurons, *spec.fitting, 1)
        reads = []
        for number, (n_in, n_out) in enumerate(pairwise(widths)):
            last = number == len(spec.fitting)
            scope = f"final_layer{suffix}" if last else f"layer_{number}{suffix}"
            timestep = spec.fitting_timestep and number > 0 and n_in == n_out and not last
            names = (f"{scope}/matrix", f"{scope}/bias", f"{scope}/idt")
            reads.append((scope, self._weights(names, n_in, n_out, timestep)))

        def apply(x: str) -> str:
            for number, (scope, layer) in enumerate(reads):
                n_in, n_out = widths[number], widths[number + 1]
                last = number == len(spec.fitting)
                hidden = self._hidden(scope, x, layer, n_out, "linear" if last else spec.fitting_activation)
                shortcut = number > 0 and n_in == n_out and not last
                x = self._binary("add", "AddV2", x, hidden) if shortcut else hidden
            return x

        x = self._cast(descriptors, "float64", spec.precision)
        energies = apply(x)
        if vacuum:
            zero = writer.node("zeros_like", "ZerosLike", [x], T=self.kind)
            energies = self._binary("sub", "Sub", energies, apply(zero))
        return self._cast(energies, spec.precision, "float64")


def write_model(spec: ModelSpec, path: Path) -> None:
    """Write a model as a frozen graph."""
    ModelWriter(spec).write(path)


ACTIVATIONS_WRITTEN = (
    "tanh", "relu", "relu6", "softplus", "sigmoid", "gelu", "gelu_tf", "silu", "silut", "silut:10",
)  # fmt: skip
_PLAIN = ModelSpec()
MODELS: dict[str, ModelSpec] = {
    "two_sided": _PLAIN,
    "one_sided": replace(_PLAIN, one_sided=True, seed=2),
    "one_type": replace(_PLAIN, type_names=("Cu",), selection=(60,), seed=3),
    "three_types": replace(_PLAIN, type_names=("Zr", "C", "O"), selection=(20, 20, 20), seed=4),
    "excluded_two_sided": replace(_PLAIN, exclude_types=((0, 1),), seed=5),
    "excluded_one_sided": replace(_PLAIN, one_sided=True, exclude_types=((1, 1),), seed=6),
    "excluded_altogether": replace(_PLAIN, exclude_types=((0, 0), (0, 1)), seed=7),
    "timesteps": replace(_PLAIN, embedding_timestep=True, embedding=(1, 2, 2, 5), seed=8),
    "no_timesteps": replace(_PLAIN, fitting_timestep=False, fitting=(10, 20, 20), seed=9),
    "davg_zero": replace(_PLAIN, davg_zero=True, seed=10),
    "float32": replace(_PLAIN, precision="float32", seed=11),
    "float32_gelu_tf": replace(_PLAIN, precision="float32", embedding_activation="gelu_tf", seed=12),
    "one_fitting_network": replace(_PLAIN, one_sided=True, one_fitting_network=True, seed=13),
    "vacuum": replace(_PLAIN, vacuum=(True, False), seed=14),
    "two_sided_wide": replace(_PLAIN, cutoff=5.1, selection=(40, 80), seed=24),
    "output_shift": replace(_PLAIN, out_std=(0.7, 1.9), out_bias=(0.3, -4.0), seed=15),
    "adjusted_selection": replace(_PLAIN, trained_selection=100, seed=16),
    "no_slots_for_a_type": replace(_PLAIN, selection=(0, 48), seed=17),
    "narrow_selection": replace(_PLAIN, selection=(3, 5), seed=18),
    "descriptor_as_wide_as_layer": replace(_PLAIN, fitting=(64, 64, 128), seed=19),
    **{
        f"activation_{name.replace(':', '_')}": replace(
            _PLAIN, embedding_activation=name, fitting_activation=name, seed=20
        )
        for name in ACTIVATIONS_WRITTEN
    },
    "activation_linear": replace(_PLAIN, embedding_activation="linear", seed=20),
    **{f"generation_{name}": replace(_PLAIN, generation=name, seed=21) for name in GENERATIONS},
    "generation_1.3_one_sided": replace(_PLAIN, generation="1.3", one_sided=True, seed=22),
    "generation_1.1_gelu": replace(_PLAIN, generation="1.1", embedding_activation="gelu", seed=23),
}
"""Models by name: every kind and generation that fastdp reads."""


def main(folder: str) -> None:
    """Write all models into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, spec in MODELS.items():
        write_model(spec, Path(folder) / f"{name}.pb")


if __name__ == "__main__":
    main(sys.argv[1])
