"""Every case of OTP's suite is accounted for once: a test of its name, or a written reason."""

from collections import Counter

from tests.conformance.cases import ADAPTED, NO_MEANING, cases, names, written_tests
from tests.conformance.table import PAGE, page


def test_there_are_93_cases_each_once() -> None:
    every = [name for _, name in names()]
    assert len(every) == 93
    assert len(set(every)) == 93


def test_each_case_is_a_test_or_has_a_reason_and_not_both() -> None:
    for case in cases():
        assert bool(case.test) != bool(case.reason), case.name


def test_no_test_or_reason_is_for_a_case_that_is_not_there() -> None:
    every = {name for _, name in names()}
    written = Counter(case for _, case in written_tests())
    assert set(written) <= every
    assert set(written.values()) == {1}
    assert set(NO_MEANING) <= every
    assert set(ADAPTED) <= set(written)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.conformance.table"
