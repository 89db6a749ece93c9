"""From terms to what evaluates them: all pair terms in one sum, others each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from fastdp.potential.terms.base import Addend, PairTerm, Term
from fastdp.potential.terms.pair_sum import FastPairSum, PairSum


def make_addends(terms: Sequence[Term], *, specified: bool, ranks: int = 1) -> list[Addend]:
    """Return what evaluates terms.

    Parameters
    ----------
    terms : sequence of Term
    specified : bool
        Whether to evaluate them as they are specified, in NumPy, and not by kernels.
    ranks : int
        That share the atoms.

    Raises
    ------
    BackendError
        If a term cannot be shared by several ranks.
    """
    pairs = pair_terms(terms)
    addends: list[Addend] = []
    if pairs:
        addends.append(PairSum(pairs) if specified else FastPairSum(pairs))
    return [*addends, *(term.addend(ranks) for term in terms if not isinstance(term, PairTerm))]


def pair_terms(terms: Sequence[Term]) -> tuple[PairTerm, ...]:
    """Return those that are sums over pairs, which are evaluated together."""
    return tuple(term for term in terms if isinstance(term, PairTerm))


def terms_not_on_gpu(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Return those that have no kernels for a GPU."""
    return tuple(term for term in terms if not term.on_gpu)
