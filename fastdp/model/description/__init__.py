"""The in-memory description of a Deep Potential.

Every reader of a file format yields it and every potential is built from it. It holds numbers and
rules that were already decided: where trainers differ (which layer has a shortcut, how radii are
rounded, what an excluded pair does), the reader writes down the outcome, so that nothing behind it
asks where a model came from.

Symbols as in Zhang et al., NeurIPS 2018 (arXiv:1805.09003).
"""

from __future__ import annotations

from fastdp.model.description.deep_potential import DeepPotential, Origin, Precision
from fastdp.model.description.descriptors import (
    AxisRule,
    Descriptor,
    HybridDescriptor,
    LocFrameDescriptor,
    OverflowRule,
    SeE2ADescriptor,
    SeE2RDescriptor,
    SeE3Descriptor,
    SmoothDescriptor,
    SmoothSwitch,
)
from fastdp.model.description.fittings import (
    NO_PARAMETERS,
    DipoleFitting,
    EnergyFitting,
    Fitting,
    ParameterInput,
    PolarFitting,
    PropertyFitting,
)
from fastdp.model.description.networks import (
    Array,
    DenseLayer,
    Embedding,
    EmbeddingTable,
    Network,
    Shortcut,
    StrippedEmbedding,
    TabulatedNetwork,
    TypeSwitch,
)

__all__ = [
    "NO_PARAMETERS",
    "Array",
    "AxisRule",
    "DeepPotential",
    "DenseLayer",
    "Descriptor",
    "DipoleFitting",
    "Embedding",
    "EmbeddingTable",
    "EnergyFitting",
    "Fitting",
    "HybridDescriptor",
    "LocFrameDescriptor",
    "Network",
    "Origin",
    "OverflowRule",
    "ParameterInput",
    "PolarFitting",
    "Precision",
    "PropertyFitting",
    "SeE2ADescriptor",
    "SeE2RDescriptor",
    "SeE3Descriptor",
    "Shortcut",
    "SmoothDescriptor",
    "SmoothSwitch",
    "StrippedEmbedding",
    "TabulatedNetwork",
    "TypeSwitch",
]
