"""Descriptors of the serialisation, by their "type"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import (
    Array,
    Embedding,
    EmbeddingTable,
    Network,
    OverflowRule,
    SeE2ADescriptor,
    SeE2RDescriptor,
    SeE3Descriptor,
    SmoothSwitch,
    StrippedEmbedding,
)
from fastdp.model.embeddings import value_at
from fastdp.model.networks import forward, with_constant_inputs
from fastdp.model.readers.serialised import SerialisedModel, descriptor_reader
from fastdp.model.readers.serialised_networks import read_network

NATIVE_RULE: OverflowRule = "nearest_of_all_types"


def _switch(model: SerialisedModel, part: dict[str, Any]) -> tuple[SmoothSwitch, float]:
    """Return the switch and the protection of s(r)."""
    environment = part.get("env_mat")
    environment = environment if isinstance(environment, dict) else {}
    if model.flag(environment, "use_exp_switch") or model.flag(part, "use_exp_switch"):
        raise model.unsupported(
            "the exponential switch (use_exp_switch), which fastdp does not evaluate: it would need that "
            "function and its derivative; train without"
        )
    cutoff, inner = model.number(part, "rcut"), model.number(part, "rcut_smth")
    if not 0.0 <= inner < cutoff < 1000.0:
        raise model.damaged(f"rcut is {cutoff} Å and rcut_smth {inner} Å")
    protection = model.number(part, "env_protection", 0.0)
    if protection < 0.0:
        raise model.damaged(f"env_protection is {protection}")
    return SmoothSwitch(inner, cutoff, cutoff - inner), protection


def _statistics(
    model: SerialisedModel, part: dict[str, Any], selection: NDArray[np.int64], n_types: int, n_columns: int
) -> tuple[Array, Array]:
    """Return mean and spread by types of centre and neighbour, (n_types, n_types, n_columns)."""
    n_slots = int(selection.sum())
    found = []
    for name in ("davg", "dstd"):
        values = model.array(part, name, (n_types, n_slots, n_columns))
        result = np.empty((n_types, n_types, n_columns))
        stops = np.cumsum(selection) if len(selection) == n_types else np.full(n_types, n_slots)
        widths = selection if len(selection) == n_types else np.full(n_types, n_slots)
        for beta, (stop, width) in enumerate(zip(stops, widths, strict=True)):
            start = int(stop - width)
            first = values[:, min(start, n_slots - 1)]
            if np.any(values[:, start:stop] != first[:, None]):
                raise model.unsupported(
                    f"statistics ({name}) that differ between neighbours of one type, which fastdp does not "
                    "evaluate; DeePMD-kit's own training never gives them"
                )
            result[:, beta] = first
        found.append(result)
    mean, spread = found
    if np.any(spread <= 0.0):
        raise model.damaged("dstd has values that are not positive")
    if n_columns == 4 and (np.any(mean[..., 1:] != 0.0) or np.any(spread[..., 2:] != spread[..., 1:2])):
        raise model.unsupported(
            "statistics that treat x, y and z differently, so that the energy would depend on the orientation"
        )
    return mean, spread


def _absent(model: SerialisedModel, n_types: int) -> NDArray[np.bool_] | None:
    """Return the pairs that the whole model excludes: they leave their slots empty."""
    absent = model.excluded_pairs(model.tree.get("pair_exclude_types"), n_types)
    return absent if absent.any() else None


def _networks(
    model: SerialisedModel, part: dict[str, Any], n_types: int, n_in: int
) -> tuple[list[list[Network | None]], int]:
    """Return networks by centre and neighbour (two indices), and how many indices the collection has."""
    collection = model.table(part, "embeddings")
    ndim = model.count(collection, "ndim")
    entries = model.entries(collection, "networks")
    if ndim > 2 or len(entries) != n_types**ndim:
        raise model.damaged(f"{len(entries)} embedding networks with {ndim} indices for {n_types} types")
    read = [None if entry is None else read_network(model, entry, n_in) for entry in entries]
    number = {
        0: lambda alpha, beta: 0,
        1: lambda alpha, beta: beta,
        2: lambda alpha, beta: alpha + n_types * beta,
    }[ndim]
    return [[read[number(alpha, beta)] for beta in range(n_types)] for alpha in range(n_types)], ndim


def _check_width(model: SerialisedModel, networks: list[list[Network | None]]) -> int:
    widths = {net.n_out for row in networks for net in row if net is not None}
    if len(widths) != 1:
        raise model.damaged(f"its embedding networks have the widths {sorted(widths)}")
    return widths.pop()


def _table(rows: list[list[Embedding | None]]) -> EmbeddingTable:
    return tuple(tuple(row) for row in rows)


@dataclass(frozen=True)
class _Sections:
    """What descriptors with slots for each type have in common.

    Attributes
    ----------
    selection : (n_types,) int64
    switch : SmoothSwitch
    protection : float
    mean, spread : (n_types, n_types, n_columns) float64
    networks : list of lists of Network or None
        By centre and neighbour, or by both neighbours.
    ndim : int
        How many types number a network.
    width : int
        Of the networks' output.
    excluded : (n_types, n_types) bool
    """

    selection: NDArray[np.int64]
    switch: SmoothSwitch
    protection: float
    mean: Array
    spread: Array
    networks: list[list[Network | None]]
    ndim: int
    width: int
    excluded: NDArray[np.bool_]

    @classmethod
    def read(cls, model: SerialisedModel, part: dict[str, Any], n_columns: int) -> _Sections:
        """Read them from a part that has rows of so many columns."""
        selection = model.selection(part)
        n_types = len(selection)
        switch, protection = _switch(model, part)
        mean, spread = _statistics(model, part, selection, n_types, n_columns)
        networks, ndim = _networks(model, part, n_types, 1)
        width = _check_width(model, networks)
        excluded = model.excluded_pairs(part.get("exclude_types"), n_types)
        return cls(selection, switch, protection, mean, spread, networks, ndim, width, excluded)

    @property
    def s_hat_0(self) -> Array:
        """The normalised s of an empty slot, (n_types, n_types)."""
        return -self.mean[..., 0] / self.spread[..., 0]

    def values(self, at: Callable[[Network, int, int], Array]) -> Array:
        """Return what a function gives for each network, (n_types, n_types, width); zero without one."""
        n_types = len(self.selection)
        found = np.zeros((n_types, n_types, self.width))
        for alpha, row in enumerate(self.networks):
            for beta, network in enumerate(row):
                if network is not None:
                    found[alpha, beta] = at(network, alpha, beta)
        return found

    def embedding(self) -> EmbeddingTable:
        """Return the networks without those of excluded pairs."""
        return tuple(
            tuple(None if self.excluded[alpha, beta] else network for beta, network in enumerate(row))
            for alpha, row in enumerate(self.networks)
        )


def _axis_neurons(model: SerialisedModel, part: dict[str, Any], width: int) -> int:
    axis = model.count(part, "axis_neuron")
    if not 0 < axis <= width:
        raise model.damaged(f"axis_neuron is {axis} for embeddings {width} wide")
    return axis


@descriptor_reader("se_e2_a", "se_a")
def _se_e2_a(model: SerialisedModel, part: dict[str, Any]) -> SeE2ADescriptor:
    read = _Sections.read(model, part, 4)
    at_zero = read.s_hat_0
    # The empty slots of an excluded pair count, although its neighbours do not.
    empty = read.values(lambda network, a, b: value_at(network, float(at_zero[a, b])) * at_zero[a, b])
    return SeE2ADescriptor(
        read.switch,
        read.selection,
        int(read.selection.sum()),
        _axis_neurons(model, part, read.width),
        read.mean,
        read.spread,
        read.embedding(),
        read.ndim == 1,
        NATIVE_RULE,
        empty,
        _absent(model, len(read.selection)),
        read.protection,
    )


@descriptor_reader("se_r", "se_e2_r")
def _se_e2_r(model: SerialisedModel, part: dict[str, Any]) -> SeE2RDescriptor:
    read = _Sections.read(model, part, 1)
    at_zero = read.s_hat_0
    return SeE2RDescriptor(
        read.switch,
        read.selection,
        int(read.selection.sum()),
        read.mean[..., 0],
        read.spread[..., 0],
        read.embedding(),
        read.ndim == 1,
        read.values(lambda network, a, b: value_at(network, float(at_zero[a, b]))),
        read.values(lambda network, a, b: value_at(network, 0.0)),
        NATIVE_RULE,
        _absent(model, len(read.selection)),
        read.protection,
    )


@descriptor_reader("se_e3", "se_t", "se_at", "se_a_3be")
def _se_e3(model: SerialisedModel, part: dict[str, Any]) -> SeE3Descriptor:
    read = _Sections.read(model, part, 4)
    n_types = len(read.selection)
    if read.ndim != 2:
        raise model.damaged(f"the networks of se_e3 have {read.ndim} indices")
    absent = model.excluded_pairs(model.tree.get("pair_exclude_types"), n_types) | read.excluded
    table: list[list[Embedding | None]] = [
        [read.networks[a][b] if a <= b else None for b in range(n_types)] for a in range(n_types)
    ]
    return SeE3Descriptor(
        read.switch,
        read.selection,
        read.selection,
        read.spread[..., 1],
        _table(table),
        NATIVE_RULE,
        absent if absent.any() else None,
        read.protection,
    )


def type_embedding(model: SerialisedModel, part: dict[str, Any]) -> Array:
    """Return the embedding of each type, (n_types, n).

    Raises
    ------
    UnsupportedModelError
        If it is made from electron configurations.
    """
    n_types = len(model.type_names)
    entry = model.table(part, "type_embedding")
    if model.flag(entry, "use_econf_tebd") or model.flag(part, "use_econf_tebd"):
        raise model.unsupported("type embeddings from electron configurations (use_econf_tebd)")
    network = read_network(model, entry.get("embedding"), n_types)
    return forward(network, np.eye(n_types))


@descriptor_reader("dpa1", "se_atten", "se_atten_v2")
def _se_atten(model: SerialisedModel, part: dict[str, Any]) -> SeE2ADescriptor:
    n_attention = model.count(part, "attn_layer", 2)
    if n_attention:
        raise model.unsupported(
            f"{n_attention} attention layers (DPA-1), which fastdp does not evaluate: it would need "
            f"attention "
            "among the neighbours of an atom, and its derivative; train with attn_layer 0"
        )
    selection = model.selection(part)
    selection = np.array([selection.sum()])
    n_types = len(model.type_names)
    switch, protection = _switch(model, part)
    mean, spread = _statistics(model, part, selection, n_types, 4)
    embeddings = type_embedding(model, part)
    one_side = model.flag(part, "type_one_side")
    stripped = part["type"] == "se_atten_v2" or part.get("tebd_input_mode", "concat") == "strip"
    smooth = part["type"] == "se_atten_v2" or model.flag(part, "smooth_type_embedding", True)
    width_of_type = embeddings.shape[1]
    n_given = width_of_type * (1 if one_side else 2)
    (network,) = _single(model, part, "embeddings", 1 if stripped else 1 + n_given)
    strip = _single(model, part, "embeddings_strip", n_given)[0] if stripped else None

    def pair(alpha: int, beta: int) -> Embedding:
        given = embeddings[beta] if one_side else np.concatenate((embeddings[beta], embeddings[alpha]))
        if strip is None:
            return with_constant_inputs(network, 1, given)
        factor = forward(strip, given[None])[0]
        if factor.shape != (network.n_out,):
            raise model.damaged(f"type factors {len(factor)} wide for embeddings {network.n_out} wide")
        return StrippedEmbedding(network, factor, "smooth" if smooth else "none")

    rows: list[list[Embedding | None]] = [[pair(a, b) for b in range(n_types)] for a in range(n_types)]
    # An empty slot takes the type of the frame's first atom; its switch is 0.
    s_hat_0 = -mean[:, 0, 0] / spread[:, 0, 0]
    empty = np.array(
        [
            [value_at(rows[a][b], float(s_hat_0[a]), 0.0) * s_hat_0[a] for b in range(n_types)]
            for a in range(n_types)
        ]
    )
    excluded = model.excluded_pairs(part.get("exclude_types"), n_types)
    for alpha, beta in np.argwhere(excluded):
        rows[alpha][beta] = None
    return SeE2ADescriptor(
        switch,
        selection,
        int(selection.sum()),
        _axis_neurons(model, part, network.n_out),
        mean,
        spread,
        _table(rows),
        one_side,
        "nearest_of_any_type",
        empty,
        _absent(model, n_types),
        protection,
        kind="se_atten_v2" if part["type"] == "se_atten_v2" else "se_atten",
    )


def _single(model: SerialisedModel, part: dict[str, Any], key: str, n_in: int) -> tuple[Network]:
    collection = model.table(part, key)
    entries = model.entries(collection, "networks")
    if len(entries) != 1:
        raise model.damaged(f"{len(entries)} networks in {key!r}, which should have one")
    return (read_network(model, entries[0], n_in),)
