"""Labels of plots keep their order and cover nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normxlogit.evaluation.report.plots.label_placement import Box, place_labels, spread_labels

PLACES = st.lists(st.floats(-2, 2), min_size=1, max_size=20)


@given(PLACES)
def test_labels_in_a_column_keep_their_order_and_distance(places: list[float]) -> None:
    found = spread_labels(places, 0.1, 0.0, 2.5)
    order = np.argsort(places, kind="stable")
    ordered = np.array(found)[order]
    assert (np.diff(ordered) >= 0.1 - 1e-9).all()
    assert ordered[0] >= -1e-9
    assert ordered[-1] <= 2.5 + 1e-9
    near = [min(max(place, 0.0), 2.5) for place in places]
    if (np.diff(np.array(near)[order]) >= 0.1).all():
        assert found == pytest.approx(near)


def test_labels_in_a_column_move_as_little_as_they_can() -> None:
    assert spread_labels([0.5, 0.5], 0.2, 0, 1) == pytest.approx([0.4, 0.6])
    assert spread_labels([0.9, 0.1, 0.95], 0.1, 0, 2) == pytest.approx([0.875, 0.1, 0.975])


@pytest.mark.parametrize("seed", range(5))
def test_labels_beside_points_cover_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in rng.uniform(20, 280, (17, 2)) * (0.5, 1)]
    signs = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    inside = Box(0, 0, 300, 300)
    sizes = [(float(w), 10.0) for w in rng.uniform(20, 90, 17)]
    boxes = place_labels(points, sizes, signs, inside, 6)
    for box, (width, height) in zip(boxes, sizes, strict=True):
        assert (box.right - box.left, box.top - box.bottom) == pytest.approx((width, height))
        assert box.within(inside)
    for one, other in itertools.combinations([*boxes, *signs], 2):
        across = min(one.right, other.right) - max(one.left, other.left)
        up = min(one.top, other.top) - max(one.bottom, other.bottom)
        assert across <= 1e-9 or up <= 1e-9 or (one in signs and other in signs)
