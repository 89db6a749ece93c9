"""The search for the cheapest choice."""

import pytest

from fastdp.potential.compressed.tuning import _first

COUNT = 40


@pytest.mark.parametrize("near", [None, 0, 1, 17, COUNT - 1, COUNT + 3])
def test_the_first_accepted_is_found_wherever_the_search_begins(near):
    for answer in range(COUNT + 1):
        found = _first(range(COUNT), lambda k: k >= answer, near)  # noqa: B023
        assert found == (answer if answer < COUNT else None)


@pytest.mark.parametrize("near", [3, 20, 37])
@pytest.mark.parametrize("away", [-1, 0, 1])
def test_a_good_guess_saves_questions(near, away):
    asked = []

    def accepted(k):
        asked.append(k)
        return k >= near + away

    assert _first(range(COUNT), accepted, near) == near + away
    assert len(asked) <= 4  # bisection asks five or six times
