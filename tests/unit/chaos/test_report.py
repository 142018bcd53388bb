"""The report: one verdict with its reason, everything in JSON, and one page that stands alone."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.chaos import html
from supervisors.chaos.history import Asked, Fault, History, Leftovers, Operation, Outcome, RunEvent, RunKind, RunWord
from supervisors.chaos.invariants import Invariant
from supervisors.chaos.report import Overall, Report, build, to_json
from supervisors.trail.events import EventKind
from tests.unit.chaos import story
from tests.unit.chaos.story import event, fail, good, history, inject, revert

STEADY = RunEvent(6.0, 0, RunWord.STEADY, {"name": "tree healthy", "ok": True, "value": "5 of 5", "when": "before"})


def replaced(**changes: object) -> History:
    return msgspec.structs.replace(history(), **changes)


class TestVerdict:
    def test_held(self) -> None:
        made = build(history())
        assert (made.verdict, made.exit_code) == (Overall.HELD, 0)
        assert made.summary == "2 faults, no invariant violated."

    def test_violated_names_what(self) -> None:
        made = build(replaced(leftovers=Leftovers(processes=("pid 7",))))
        assert (made.verdict, made.exit_code) == (Overall.VIOLATED, 1)
        assert "INV-10 nothing_left" in made.summary

    @pytest.mark.parametrize(
        ("outcome", "verdict", "code"),
        [
            (Outcome.DEVIATED, Overall.DEVIATED, 1),
            (Outcome.ABORTED, Overall.ABORTED, 3),
            (Outcome.NOT_REVERTED, Overall.NOT_REVERTED, 4),
            (Outcome.UNKNOWN, Overall.UNFINISHED, 3),
        ],
    )
    def test_the_runners_word(self, outcome: Outcome, verdict: Overall, code: int) -> None:
        made = build(replaced(outcome=outcome, why="p99 was 3 s"))
        assert (made.verdict, made.exit_code) == (verdict, code)
        assert "p99 was 3 s" in made.summary

    def test_a_fault_that_stays_is_worst(self) -> None:
        events = [*good(), inject(30.0, "/job", "delay", "f-3"), revert(31.0, "/job", "delay", "f-3", ok=False)]
        made = build(msgspec.structs.replace(history(events), outcome=Outcome.ABORTED))
        assert (made.verdict, made.exit_code) == (Overall.NOT_REVERTED, 4)
        assert "delay at /job" in made.summary

    def test_an_empty_directory_proves_nothing(self) -> None:
        made = build(History(Asked("", RunKind.TRAIL)))
        assert made.verdict is not Overall.VIOLATED
        assert made.exit_code == 0


class TestJson:
    def test_comes_back_whole(self) -> None:
        made = build(replaced(events=(STEADY,)))
        again = msgspec.json.decode(to_json(made), type=Report)
        assert to_json(again) == to_json(made)

    def test_its_form_is_stable(self) -> None:
        body = msgspec.json.decode(to_json(build(replaced(events=(STEADY,)))))
        assert {"schema", "title", "verdict", "summary", "asked", "seconds", "faults", "invariants", "measures"} <= set(
            body
        )
        assert body["schema"] == 1
        assert [row["verdict"]["id"] for row in body["invariants"]] == list(Invariant)
        assert set(body["measures"]["all"]) >= {
            "kind",
            "faults",
            "detect",
            "decide",
            "recover",
            "rto_ms",
            "late",
            "apart",
        }
        assert set(body["measures"]["all"]["detect"]) == {"n", "mean_ms", "p50_ms", "p99_ms", "max_ms"}
        assert body["steady"] == [{"at": 1.0, "name": "tree healthy", "ok": True, "value": "5 of 5", "when": "before"}]
        assert body["operations"] == {"ok": 3, "info": 1, "fail": 1}

    def test_bars_are_seconds_since_the_run_began(self) -> None:
        bar = build(history()).bars[0]
        assert (bar.target, bar.begin, bar.signal, bar.healthy) == ("/ledger", 5.0, 5.005, 5.05)


class Links(HTMLParser):
    """Every address a page refers to, and every element."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [
            str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")
        ]


def parsed(page: str) -> ElementTree.Element:
    assert page.startswith("<!DOCTYPE html>")
    return ElementTree.fromstring(page.partition("\n")[2])


class TestPage:
    def test_shows_what_a_person_asks_for(self) -> None:
        made = build(replaced(events=(STEADY,), gaps=("trail: 3 lines are damaged",)))
        text = " ".join(" ".join(parsed(html.render(made)).itertext()).split())
        for words in (
            "a run",
            "held",
            "seed 7",
            "INV-1",
            "nothing left",
            "Timeline",
            "/ledger",
            "kill",
            "MTTD",
            "MTTR",
        ):
            assert words in text
        for words in ("rayvisor chaos replay", "tree healthy", "trail: 3 lines are damaged", "promised", "50 ms"):
            assert words in text

    def test_a_violation_is_shown_with_its_evidence(self) -> None:
        page = html.render(build(history([*good(), *fail(33.0, "/job", 1)])))
        assert "first_signal of /job has no cause among the faults" in page
        assert "t=33.000000 first_signal /job#1" in page

    def test_stands_alone(self) -> None:
        links = Links()
        page = html.render(build(history()))
        links.feed(page)
        assert links.addresses == []
        assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(links.elements)
        assert "@import" not in page
        assert not re.search(r"url\(|https?:|//[a-z]", page)

    @pytest.mark.parametrize(
        "words", ["<script>alert(1)</script>", "a & b", "'\"><b>", "\x00\x1b[31m", "\ud800", "$title", "]]>"]
    )
    def test_every_text_is_escaped(self, words: str) -> None:
        asked = Asked(
            words, RunKind.MONKEY, words, experiment=words, options={words: words}, replay=words, system=words
        )
        fault = Fault(words, words, (words,), 10.0, why=words, by=words, reverted=False)
        signal = event(10.1, EventKind.FIRST_SIGNAL, words, signal=words)
        operation = Operation(words, words, 1.0, error=words)
        notes = (RunEvent(6.0, 0, RunWord.STEADY, {"name": words, "value": words, "when": words}),)
        odd = History(asked, 5.0, 40.0, Outcome.ABORTED, words, notes, (fault,), (signal,), (operation,), gaps=(words,))
        page = html.render(build(odd))
        root = parsed(page)
        assert not root.findall(".//script")
        assert not root.findall(".//section//p/b")
        page.encode()

    @settings(max_examples=30)
    @given(st.text(min_size=1, max_size=40))
    def test_any_text_leaves_a_page_that_is_well_formed(self, words: str) -> None:
        fault = Fault("f", words, (words,), 10.0, detected=("futex",))
        parsed(html.render(build(History(Asked(words, title=words), 5.0, 40.0, faults=(fault,), gaps=(words,)))))

    def test_without_anything_it_is_a_page_still(self) -> None:
        text = " ".join(parsed(html.render(build(History(Asked(""))))).itertext())
        assert "No fault was injected" in text

    def test_times_of_zero_and_of_hours_have_a_place_on_the_axis(self) -> None:
        events = [
            *story.boot(),
            inject(10.0, "/job", life=1),
            *fail(10.0, "/job", 1),
            *story.heal(20_000.0, "/job", 2, 9),
        ]
        root = parsed(html.render(build(msgspec.structs.replace(history(events), ended=20_001.0))))
        for shape in root.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert -1 <= float(shape.get(name, "0")) <= 1130


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "-"), (0.0, "0 ms"), (0.1234, "0.123 ms"), (12.345, "12.3 ms"), (1234.0, "1.23 s"), (90_000.0, "1.5 min")],
)
def test_times_for_people(value: float | None, words: str) -> None:
    assert html.milliseconds(value) == words
