"""Descriptors of the serialisation, by their "type"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.model.description import (
    Array,
    Embedding,
    EmbeddingTable,
    HybridDescriptor,
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
from fastdp.model.readers.serialised import SerialisedModel, descriptor_reader, read_descriptor
from fastdp.model.readers.serialised_networks import read_network

NATIVE_RULE: OverflowRule = "nearest_of_all_types"


def _switch(model: SerialisedModel, part: dict[str, Any]) -> tuple[SmoothSwitch, float]:
    """Return the switch and the protection of s(r)."""
    environment = part.get("env_mat")
    environment = environment if isinstance(environment, dict) else {}
    if model.flag(environment, "use_exp_switch") or model.flag(part, "use_exp_switch"):
        raise model.unsupported("the exponential switch (use_exp_switch), which fastdp does not evaluate")
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


@descriptor_reader("se_e2_a", "se_a")
def _se_e2_a(model: SerialisedModel, part: dict[str, Any]) -> SeE2ADescriptor:
    selection = model.selection(part)
    n_types = len(selection)
    switch, protection = _switch(model, part)
    mean, spread = _statistics(model, part, selection, n_types, 4)
    networks, ndim = _networks(model, part, n_types, 1)
    width = _check_width(model, networks)
    excluded = model.excluded_pairs(part.get("exclude_types"), n_types)
    empty = np.zeros((n_types, n_types, width))
    table: list[list[Embedding | None]] = [[None] * n_types for _ in range(n_types)]
    for alpha in range(n_types):
        for beta in range(n_types):
            network = networks[alpha][beta]
            if network is None:
                continue
            s_hat_0 = float(-mean[alpha, beta, 0] / spread[alpha, beta, 0])
            # The empty slots of an excluded pair count, although its neighbours do not.
            empty[alpha, beta] = value_at(network, s_hat_0) * s_hat_0
            table[alpha][beta] = None if excluded[alpha, beta] else network
    axis = model.count(part, "axis_neuron")
    if not 0 < axis <= width:
        raise model.damaged(f"axis_neuron is {axis} for embeddings {width} wide")
    return SeE2ADescriptor(
        switch,
        selection,
        int(selection.sum()),
        axis,
        mean,
        spread,
        _table(table),
        ndim == 1,
        NATIVE_RULE,
        empty,
        _absent(model, n_types),
        protection,
    )


@descriptor_reader("se_r", "se_e2_r")
def _se_e2_r(model: SerialisedModel, part: dict[str, Any]) -> SeE2RDescriptor:
    selection = model.selection(part)
    n_types = len(selection)
    switch, protection = _switch(model, part)
    mean, spread = (values[..., 0] for values in _statistics(model, part, selection, n_types, 1))
    networks, ndim = _networks(model, part, n_types, 1)
    width = _check_width(model, networks)
    excluded = model.excluded_pairs(part.get("exclude_types"), n_types)
    empty, masked = np.zeros((n_types, n_types, width)), np.zeros((n_types, n_types, width))
    table: list[list[Embedding | None]] = [[None] * n_types for _ in range(n_types)]
    for alpha in range(n_types):
        for beta in range(n_types):
            network = networks[alpha][beta]
            if network is None:
                continue
            empty[alpha, beta] = value_at(network, float(-mean[alpha, beta] / spread[alpha, beta]))
            masked[alpha, beta] = value_at(network, 0.0)
            table[alpha][beta] = None if excluded[alpha, beta] else network
    return SeE2RDescriptor(
        switch,
        selection,
        int(selection.sum()),
        mean,
        spread,
        _table(table),
        ndim == 1,
        empty,
        masked,
        NATIVE_RULE,
        _absent(model, n_types),
        protection,
    )


@descriptor_reader("se_e3", "se_t", "se_at", "se_a_3be")
def _se_e3(model: SerialisedModel, part: dict[str, Any]) -> SeE3Descriptor:
    selection = model.selection(part)
    n_types = len(selection)
    switch, protection = _switch(model, part)
    _, spread = _statistics(model, part, selection, n_types, 4)
    networks, ndim = _networks(model, part, n_types, 1)
    _check_width(model, networks)
    if ndim != 2:
        raise model.damaged(f"the networks of se_e3 have {ndim} indices")
    absent = model.excluded_pairs(model.tree.get("pair_exclude_types"), n_types)
    absent |= model.excluded_pairs(part.get("exclude_types"), n_types)
    table: list[list[Embedding | None]] = [
        [networks[a][b] if a <= b else None for b in range(n_types)] for a in range(n_types)
    ]
    return SeE3Descriptor(
        switch,
        selection,
        selection,
        spread[..., 1],
        _table(table),
        NATIVE_RULE,
        absent if absent.any() else None,
        protection,
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
    axis = model.count(part, "axis_neuron")
    if not 0 < axis <= network.n_out:
        raise model.damaged(f"axis_neuron is {axis} for embeddings {network.n_out} wide")
    return SeE2ADescriptor(
        switch,
        selection,
        int(selection.sum()),
        axis,
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


@descriptor_reader("hybrid")
def _hybrid(model: SerialisedModel, part: dict[str, Any]) -> HybridDescriptor:
    parts = []
    for entry in model.entries(part, "list"):
        if not isinstance(entry, dict) or entry.get("type") == "hybrid":
            raise model.damaged("a part of the hybrid descriptor is no descriptor")
        parts.append(read_descriptor(model, entry))
    if not parts or len({found.n_types for found in parts}) != 1:
        raise model.damaged("the parts of the hybrid descriptor do not fit together")
    mixed = [bool(getattr(found, "mixed", False)) for found in parts]
    if not any(mixed):
        shared = np.max([found.selection for found in parts], axis=0)
        # The list is made once, for the widest part; then each takes the nearest of each type.
        return HybridDescriptor(
            tuple(replace(found, overflow_rule="nearest_of_each_type") for found in parts), shared
        )
    widest = max(found.cutoff for found in parts)
    if any(getattr(found, "depends_on_first_atom", False) and found.cutoff < widest for found in parts):
        raise model.unsupported(
            "a hybrid descriptor with a dpa1 of a smaller cutoff and without set_davg_zero: its slots beyond "
            "that cutoff have the types of atoms that it does not see; it would need these atoms too"
        )
    # The list is the nearest of any type; a part takes the first of these, or the nearest of each type.
    return HybridDescriptor(
        tuple(
            found if any_type else replace(found, overflow_rule="nearest_of_each_type")
            for found, any_type in zip(parts, mixed, strict=True)
        ),
        np.array([max(int(found.selection.sum()) for found in parts)]),
    )
