"""The restart-intensity window: whole seconds, an entry as old as the period still counts (OTP's add_restart)."""

from math import floor

from hypothesis import given
from hypothesis import strategies as st

from supervisors.tree.intensity import IntensityWindow


def test_an_entry_as_old_as_the_period_still_counts() -> None:
    window = IntensityWindow(1, 5)
    assert window.add(100.0)
    assert not window.add(105.9)
    window = IntensityWindow(1, 5)
    assert window.add(100.9)
    assert window.count(105.99) == 1
    assert window.add(106.0)
    assert window.count(106.0) == 1


def test_intensity_nought_allows_none() -> None:
    assert not IntensityWindow(0, 5).add(1.0)


def test_a_predecessors_stamps_count() -> None:
    window = IntensityWindow(2, 5)
    window.restore((100, 99))
    assert window.stamps == (100, 99)
    assert not window.add(101.0)


@given(
    st.integers(0, 5),
    st.integers(1, 10),
    st.lists(st.floats(0.0, 4.0, allow_nan=False), max_size=30),
)
def test_agrees_with_counting_them_all(intensity: int, period: int, gaps: list[float]) -> None:
    window, now, every = IntensityWindow(intensity, period), 50.0, list[int]()
    for gap in gaps:
        now += gap
        every.append(floor(now))
        recent = sum(1 for second in every if second >= floor(now) - period)
        assert window.add(now) is (recent <= intensity)
        assert window.count(now) == recent
