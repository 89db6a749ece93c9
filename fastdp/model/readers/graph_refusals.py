"""Parts of frozen graphs that fastdp does not evaluate, and what it tells whoever has one.

A graph is searched for all of them before anything is read. What is not listed here and not read either
is caught by `fastdp.model.readers.graph_check`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fastdp.errors import UnsupportedModelError
from fastdp.model.readers.graph_def import BFLOAT16, HALF, Graph, Node

USE_SE_E2_A = "fastdp evaluates energy models with one se_e2_a descriptor; train one of these"


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


def _other_model_type(graph: Graph) -> str | None:
    name = "model_attr/model_type"
    kind = graph.text(name) if name in graph else "ener"
    return None if kind == "ener" else f"{name} is {kind!r}"


def _count(name: str) -> Callable[[Graph], str | None]:
    def found(graph: Graph) -> str | None:
        number = graph.integer(name) if name in graph else 0
        return f"{number} of them" if number else None

    return found


def _several_descriptors(graph: Graph) -> str | None:
    descriptors = [node.name for node in graph if re.match("ProdEnvMat|Descrpt", node.operation)]
    return f"nodes {', '.join(map(repr, descriptors))}" if len(descriptors) > 1 else None


def _half_precision(graph: Graph) -> str | None:
    def casts_to_half(node: Node) -> bool:
        target = node.attributes["DstT"].type if "DstT" in node.attributes else 0
        return node.operation == "Cast" and target in (HALF, BFLOAT16)

    return next((f"node {node.name!r}" for node in graph if casts_to_half(node)), None)


REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "the embedding tables of a compressed model (dp compress)",
        "give the model as it was before dp compress; fastdp compresses it by itself",
        _operation("TabulateFusion.*"),
    ),
    Refusal(
        "atomic spins (DeepSPIN)",
        "fastdp has no magnetic degrees of freedom; use a model without spin",
        _node_named("spin_attr/"),
    ),
    Refusal(
        "a pairwise QM/MM model (pairwise_dprc)",
        "fastdp has no QM/MM fragments; use a model of the whole system",
        _node_named("descrpt_attr_qm"),
    ),
    Refusal(
        "a pair table (use_srtab)",
        "freeze a model that was trained without use_srtab",
        _node_named("model_attr/t_tab_"),
    ),
    Refusal(
        "a data modifier (DPLR: long-range charges)",
        "fastdp has no long-range part; use a model that was trained without a modifier",
        _node_named("modifier_attr/"),
    ),
    Refusal("a model of something else than energies", USE_SE_E2_A, _other_model_type),
    Refusal("attention layers", USE_SE_E2_A, _node_named("attention_layer_")),
    Refusal("a se_atten (DPA-1) descriptor", USE_SE_E2_A, _operation("ProdEnvMatAMix.*|DescrptSeAtten.*")),
    Refusal("a se_a_mask descriptor", USE_SE_E2_A, _operation("DescrptSeAMask")),
    Refusal("a quantised model (NVNMD)", USE_SE_E2_A, _operation(".*Nvnmd.*")),
    Refusal(
        "several descriptors (hybrid, or several models in one graph)", USE_SE_E2_A, _several_descriptors
    ),
    Refusal("a se_e2_r descriptor", USE_SE_E2_A, _operation("ProdEnvMatR.*|DescrptSeR")),
    Refusal("a loc_frame descriptor", USE_SE_E2_A, _operation("Descrpt")),
    Refusal("a se_e3 descriptor", USE_SE_E2_A, _node_named(r"filter_type_all[^/]*/matrix_\d+_\d+_\d+$")),
    Refusal(
        "a type embedding",
        "train the se_e2_a descriptor without a type_embedding section",
        _node_named(r"type_embed_net|t_typeebd|filter_type_all[^/]*/matrix_\d+($|_\D)"),
    ),
    Refusal("frame parameters (fparam)", "train without numb_fparam", _count("fitting_attr/dfparam")),
    Refusal("atomic parameters (aparam)", "train without numb_aparam", _count("fitting_attr/daparam")),
    Refusal(
        "fitting layers shared between networks (layer_name)",
        "train without layer_name",
        _node_named("share_"),
    ),
    Refusal(
        "mixed precision (hidden layers in 16 bits)",
        "train in float64 or float32, or fine-tune and freeze without mixed_precision",
        _half_precision,
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
