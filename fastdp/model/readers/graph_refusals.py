"""Parts of frozen graphs that fastdp does not evaluate, and what it tells whoever has one.

A graph is searched for all of them before anything is read. What is not listed here and not read either
is caught by `fastdp.model.readers.graph_check`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fastdp.errors import UnsupportedModelError
from fastdp.model.readers.graph_def import Graph

USE_OTHER = "fastdp evaluates se_e2_a, se_e2_r, se_e3, hybrids, se_atten without attention and loc_frame"


@dataclass(frozen=True)
class Refusal:
    """A part that is refused.

    Attributes
    ----------
    part : str
        Its name.
    advice : str
        What to do.
    found : callable
        From a graph to what was found there (for the message), or None.
    """

    part: str
    advice: str
    found: Callable[[Graph], str | None]


def _node_named(pattern: str) -> Callable[[Graph], str | None]:
    compiled = re.compile(pattern)
    return lambda graph: next((f"node {name!r}" for name in graph.nodes if compiled.match(name)), None)


def _operation(pattern: str) -> Callable[[Graph], str | None]:
    compiled = re.compile(pattern)
    return lambda graph: next(
        (f"operation {node.operation!r}" for node in graph if compiled.fullmatch(node.operation)), None
    )


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "a pairwise QM/MM model (pairwise_dprc)",
        "it would need the fragment of each atom, and the sum over pairs of fragments; use a model of the "
        "whole system",
        _node_named("descrpt_attr_qm"),
    ),
    Refusal(
        "a data modifier (DPLR: long-range charges)",
        "it would need charges on atoms and Wannier centroids and their Ewald sum; use a model that was "
        "trained without a modifier",
        _node_named("modifier_attr/"),
    ),
    Refusal(
        "attention layers (DPA-1)",
        "it would need attention among the neighbours of an atom, and its derivative; train with "
        "attn_layer 0",
        _node_named("attention_layer_"),
    ),
    Refusal(
        "a se_a_mask descriptor",
        f"it would need the atoms that each frame leaves out; {USE_OTHER}",
        _operation("DescrptSeAMask"),
    ),
    Refusal(
        "a quantised model (NVNMD)",
        f"it would need the fixed-point arithmetic of its hardware; {USE_OTHER}",
        _operation(".*Nvnmd.*"),
    ),
    Refusal(
        "fitting layers shared between networks (layer_name)",
        "it would need to know which networks use each of them; train without layer_name",
        _node_named("share_"),
    ),
)


def refuse_unsupported(graph: Graph) -> None:
    """Refuse a graph that has a part which fastdp does not evaluate.

    Parameters
    ----------
    graph : Graph

    Raises
    ------
    UnsupportedModelError
        Naming the part, where it was found and what to do.
    ModelError
        If a node that tells is damaged.
    """
    for refusal in REFUSALS:
        where = refusal.found(graph)
        if where is not None:
            raise UnsupportedModelError(
                f"{graph.source}: found {refusal.part} ({where}), which fastdp does not evaluate: "
                f"{refusal.advice}"
            )
