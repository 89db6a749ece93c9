"""Hybrid descriptors of the serialisation, and where type embeddings stand behind descriptors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastdp.model.description import Array, HybridDescriptor
from fastdp.model.readers.serialised import SerialisedModel, descriptor_reader, read_descriptor
from fastdp.model.readers.serialised_descriptors import type_embedding


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


def embeddings_in_fitting(
    model: SerialisedModel, part: dict[str, Any], descriptor: Any
) -> tuple[tuple[int, Array], ...]:
    """Return the type embeddings in the fitting's input, each behind the descriptor that it belongs to."""
    parts = [(part, descriptor)]
    if part.get("type") == "hybrid":
        parts = list(zip(model.entries(part, "list"), descriptor.parts, strict=True))
    found, column = [], 0
    for entry, described in parts:
        column += described.width
        table = _appended_embedding(model, entry)
        if table is not None:
            found.append((column, table))
            column += table.shape[1]
    return tuple(found)


def _appended_embedding(model: SerialisedModel, part: dict[str, Any]) -> Array | None:
    if part.get("type") not in ("dpa1", "se_atten", "se_atten_v2"):
        return None
    if not model.flag(part, "concat_output_tebd", True):
        return None
    return type_embedding(model, part)
