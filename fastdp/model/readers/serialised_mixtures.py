"""Models of the serialisation that are sums or mixtures of a network and tables of pairs.

"linear" is Σ_m weight_m E_m; "zbl" goes from the network to a table where atoms come close. Only the outer
model's `out_bias` counts; those of its parts are not applied by DeePMD-kit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastdp.model.description import Array, DeepPotential, EnergyFitting, Origin
from fastdp.model.pair_part import NearestSwitch, PairPart
from fastdp.model.pair_table import PairTableData
from fastdp.model.readers.serialised import (
    SerialisedModel,
    Shortest,
    describe_standard,
    model_reader,
)
from fastdp.model.scaling import scaled, shifted

MAX_INTERVALS = 10**7


@model_reader("zbl")
def _zbl(model: SerialisedModel, origin: Origin, shortest: Shortest) -> DeepPotential:
    network, tables = _parts(model, origin, shortest)
    if len(tables) != 1:
        raise model.damaged(f"a zbl model has one table, and this has {len(tables)}")
    entry, table = tables[0]
    inner, outer = model.number(model.tree, "sw_rmin"), model.number(model.tree, "sw_rmax")
    softness = model.number(model.tree, "smin_alpha", 0.1)
    if not (0.0 <= inner < outer and softness > 0.0):
        raise model.damaged(f"sw_rmin = {inner}, sw_rmax = {outer}, smin_alpha = {softness}")
    out_bias = _out_bias(model)
    selection = _selection(model, entry)
    # DeePMD-kit takes the longer of both lists of neighbours.
    own = network.descriptor
    reach = table.cutoff if selection.sum() >= np.sum(own.selection) else own.cutoff
    part = PairPart(
        (table,), out_bias, NearestSwitch(softness, inner, outer, reach), selection, "nearest_of_any_type"
    )
    return replace(shifted(network, out_bias), pair_part=part)


@model_reader("linear", "linear_ener")
def _linear(model: SerialisedModel, origin: Origin, shortest: Shortest) -> DeepPotential:
    network, tables = _parts(model, origin, shortest)
    entries = model.entries(model.tree, "models")
    weights = _weights(model, len(entries))
    weighted, selections = [], [np.array([0])]
    for entry, table in tables:
        weight = weights[next(k for k, other in enumerate(entries) if other is entry)]
        weighted.append(replace(table, coefficients=weight * table.coefficients))
        selections.append(_selection(model, entry))
    own = next(weight for weight, entry in zip(weights, entries, strict=True) if entry["type"] != "pairtab")
    described = shifted(scaled(network, own), _out_bias(model))
    if not weighted:
        return described
    part = PairPart(
        tuple(weighted),
        np.zeros(len(model.type_names)),
        None,
        np.max(selections, axis=0),
        "nearest_of_any_type",
    )
    return replace(described, pair_part=part)


def _parts(
    model: SerialisedModel, origin: Origin, shortest: Shortest
) -> tuple[DeepPotential, list[tuple[dict[str, Any], PairTableData]]]:
    """Return the network, without an out_bias, and the tables with their entries."""
    for key in ("atom_exclude_types", "pair_exclude_types"):
        if model.tree.get(key):
            raise model.unsupported(f"{key} in a combination of models, which fastdp does not evaluate")
    networks, tables = [], []
    for entry in model.entries(model.tree, "models"):
        if not isinstance(entry, dict):
            raise model.damaged("a part of the combination is no table")
        kind = entry.get("type", "standard")
        if kind == "pairtab":
            tables.append((entry, _table(model, entry)))
        elif kind == "standard":
            part = replace(model, tree={**entry, "@variables": {}})
            if part.type_names != model.type_names:
                raise model.unsupported(
                    f"a part whose atom types are {', '.join(part.type_names)} in a combination of models "
                    f"for {', '.join(model.type_names)}, which fastdp does not evaluate; train it with the "
                    "same type_map"
                )
            networks.append(describe_standard(part, origin, shortest))
        else:
            raise model.unsupported(
                f"a part of type {kind!r:.40} in a combination of models, which fastdp does not evaluate"
            )
    if len(networks) != 1:
        raise model.unsupported(
            f"a combination of {len(networks)} networks, which fastdp does not evaluate; it evaluates one, "
            "with any number of tables of pairs (several models of the same system: [committee])"
        )
    if not isinstance(networks[0].fitting, EnergyFitting):
        raise model.unsupported("a combination of models of something else than energies")
    return networks[0], tables


def _table(model: SerialisedModel, entry: dict[str, Any]) -> PairTableData:
    """Return a table in the order of the model's types."""
    tab = model.table(entry, "tab")
    names = replace(model, tree=entry).type_names
    missing = [name for name in model.type_names if name not in names]
    if missing:
        raise model.damaged(f"a table has no energies for {', '.join(missing)}")
    n, n_intervals = len(names), model.count(tab, "nspline")
    start, spacing = model.number(tab, "rmin"), model.number(tab, "hh")
    cutoff = model.number(entry, "rcut")
    if not 0 < n_intervals < MAX_INTERVALS or start < 0.0 or spacing <= 0.0 or cutoff <= start:
        raise model.damaged(f"a table of {n_intervals} intervals of {spacing} Å from {start} to {cutoff} Å")
    coefficients = model.array(tab, "tab_data", (n, n, n_intervals, 4))
    place = np.array([names.index(name) for name in model.type_names])
    return PairTableData(start, spacing, coefficients[np.ix_(place, place)][..., ::-1].copy(), cutoff)


def _selection(model: SerialisedModel, entry: dict[str, Any]) -> Any:
    return np.array([model.selection(entry).sum()])


def _weights(model: SerialisedModel, n: int) -> Array:
    given = model.tree.get("weights", "mean")
    if given in ("mean", "sum"):
        return np.full(n, 1.0 / n if given == "mean" else 1.0)
    sound = isinstance(given, list) and len(given) == n
    if not sound or not all(isinstance(w, (int, float)) and np.isfinite(w) for w in given):
        raise model.damaged(f"weights is {given!r:.60}")
    return np.array(given, dtype=np.float64)


def _out_bias(model: SerialisedModel) -> Array:
    n = len(model.type_names)
    if "@variables" not in model.tree or model.optional_array(model.tree, "out_bias") is None:
        return np.zeros(n)
    return model.array(model.tree, "out_bias", (n,))
