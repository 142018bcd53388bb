"""The monkey: which fault hits whom next, by a seed. Pure; whoever runs it looks at the system and injects.

A decision depends on the seed, its number, the candidates there were (all of which is recorded) and the decisions
before it, never on the clock, so that a run can be decided anew, and its schedule be run again (``Replay``).
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from supervisors.chaos.choosing import (
    LEFT_OUT,
    SLEEPING,
    Candidate,
    Decision,
    Event,
    Limits,
    Look,
    MonkeyRules,
    Over,
    Refused,
    allowed,
    covers,
    fits,
    kinds_of,
    refuse_misfits,
)
from supervisors.core.errors import FaultError
from supervisors.core.paths import TreePath, parent_of
from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.order import Scalar
from supervisors.faults.request import FaultRequest, TargetSet
from supervisors.faults.values import ValueType

__all__ = [
    "LEFT_OUT", "SLEEPING", "Candidate", "Decision", "Event", "Limits", "Look", "Monkey", "MonkeyRules", "Over",
    "Refused", "Replay", "allowed", "covers", "fits", "kinds_of", "redecide", "refuse_misfits",
]  # fmt: skip

T = TypeVar("T")

#: a kind refused so often at a target is not tried there again
_REFUSALS = 2
#: parameters a seed does not choose among, though they name their choices
_FIXED = frozenset({("oom", "end"), ("net_black_hole", "bytes"), ("net_one_way", "bytes")})


class Monkey:
    """Decides, one fault after the other.

    Args:
        rules: what it was asked to do.
        kinds: all there are.
        started: monotonic seconds at which the run began.

    Raises:
        FaultError: the rules cannot be met (9060, 9061, 9062).
    """

    def __init__(self, rules: MonkeyRules, kinds: Iterable[FaultKind], started: float) -> None:
        limits = rules.limits
        if not (0.0 < rules.rate <= 6000.0 and math.isfinite(rules.rate)) or limits.at_once < 1:
            raise FaultError("a monkey needs a rate of more than 0, and at least 1 target at once", code=9062,
                             fix="--rate 20/m --at-once 1")  # fmt: skip
        if not 0.0 < limits.shortest <= limits.longest:
            raise FaultError("the shortest fault is longer than the longest", code=9062, fix="shortest <= longest")
        self._rules = rules
        self._kinds = kinds_of(rules, kinds)
        self._started = started
        self._gap = 60.0 / rules.rate
        self._running: dict[int, Decision] = {}
        self._recent: dict[int, Decision] = {}
        self._refusals: Counter[tuple[str, str, Target]] = Counter()
        self._hits: Counter[str] = Counter()
        #: decisions so far, by kind
        self.used: Counter[str] = Counter({kind.name: 0 for kind in self._kinds})
        self.decided = 0
        #: why it has not decided though one is due
        self.waiting = ""
        self.next_at = self._due()

    @property
    def finished(self) -> bool:
        """It has made all the decisions it may."""
        return bool(self._rules.limits.faults) and self.decided >= self._rules.limits.faults

    def step(self, event: Event, now: float) -> Decision | None:
        """Take an event; a look may give a decision."""
        match event:
            case Over(number):
                self._running.pop(number, None)
            case Refused(number):
                self._refused(number)
            case Look(candidates) if not self.finished and now >= self.next_at:
                return self._look(candidates, now)
        return None

    def decide(self, candidates: tuple[Candidate, ...], at: float, barred: tuple[str, ...] = ()) -> Decision | None:
        """The next decision, from ``candidates`` and without the kinds ``barred``; None: no kind fits."""
        number = self.decided + 1
        draw = random.Random(f"{self._rules.seed}/{number}").random
        choices = {
            kind: there
            for kind in self._kinds
            if kind.name not in barred and (there := [found for found in candidates if self._may(kind, found)])
        }
        if not choices:
            return None
        kind = _pick(list(choices), lambda kind: self.used[kind.name], draw)
        target = _pick(choices[kind], lambda found: self._hits[_key(found)], draw)
        requests = self._requests(kind, target, draw)
        decision = Decision(number, at, target.target, requests, candidates, barred)
        self.decided = number
        self.used[kind.name] += 1
        self._hits[_key(target)] += 1
        self._running[number] = self._recent[number] = decision
        self._recent.pop(number - 64, None)
        self.next_at = self._due()
        return decision

    # ---- when ---------------------------------------------------------------------------------------------------

    def _due(self) -> float:
        """An instant of the next slot, by the seed; what comes late does not put off those after it."""
        draw = random.Random(f"{self._rules.seed}/at/{self.decided + 1}").random()
        return self._started + (self.decided + draw) * self._gap

    def _look(self, candidates: tuple[Candidate, ...], now: float) -> Decision | None:
        ruthless = self._rules.ruthless
        hit = {decision.path for decision in self._running.values()}
        sick = set() if ruthless else {one.path for one in candidates if not one.healthy}
        if len(hit | sick) >= self._rules.limits.at_once:
            self.waiting = f"{min(sick - hit)} is not healthy" if sick - hit else "the last fault is not over"
            return None
        busy = hit | sick
        free = tuple(
            one
            for one in candidates
            # a child whose supervisor is hit could not be healed
            if one.path not in busy and allowed(self._rules, one.path) and (ruthless or not _above(one.path) & busy)
        )
        under_way = {request.fault for decision in self._running.values() for request in decision.requests}
        barred = tuple(kind.name for kind in self._kinds if kind.where is Where.NODE and kind.name in under_way)
        decision = self.decide(free, now - self._started, barred) if free else None
        self.waiting = "" if decision is not None else "no fault fits any target that is free"
        return decision

    # ---- what ---------------------------------------------------------------------------------------------------

    def _may(self, kind: FaultKind, candidate: Candidate) -> bool:
        refusals = self._refusals[kind.name, candidate.path, candidate.target]
        return refusals < _REFUSALS and fits(kind, candidate)

    def _requests(self, kind: FaultKind, target: Candidate, draw: Callable[[], float]) -> tuple[FaultRequest, ...]:
        limits = self._rules.limits
        longest = max(limits.shortest, min(limits.longest, self._gap * limits.at_once))
        seconds = limits.shortest * (longest / limits.shortest) ** draw()
        request = FaultRequest(
            kind.name,
            target.path,
            _params(kind, draw),
            round(seconds, 3) if kind.lasting else None,
            seed=int(draw() * (1 << 31)),
            targets=TargetSet.STANDBYS if target.target is Target.STANDBY else TargetSet.PATH,
        )
        if kind.name in SLEEPING:
            return (request, FaultRequest("kill", target.path, seed=request.seed, targets=request.targets))
        return (request,)

    def _refused(self, number: int) -> None:
        self._running.pop(number, None)
        decision = self._recent.pop(number, None)
        if decision is not None:
            fault = decision.requests[0].fault
            self._refusals[fault, decision.path, decision.target] += 1
            self.used[fault] -= 1


class Replay:
    """Gives the decisions of a recorded run again, each when it was taken, or once its target is healthy.

    Args:
        recorded: in order.
        started: monotonic seconds at which this run began.
        ruthless, at_once: as of the recorded run.
    """

    def __init__(
        self, recorded: Sequence[Decision], started: float, *, ruthless: bool = False, at_once: int = 1
    ) -> None:
        self._recorded = list(recorded)
        self._started = started
        self._ruthless = ruthless
        self._at_once = at_once
        self._running: dict[int, Decision] = {}
        self.used: Counter[str] = Counter()
        self.decided = 0
        self.waiting = ""

    @property
    def finished(self) -> bool:
        """All were given."""
        return self.decided >= len(self._recorded)

    @property
    def next_at(self) -> float:
        """Monotonic seconds at which the next is due; infinity: there is none."""
        return math.inf if self.finished else self._started + self._recorded[self.decided].at

    def step(self, event: Event, now: float) -> Decision | None:
        """As ``Monkey.step``."""
        if isinstance(event, Over | Refused):
            self._running.pop(event.number, None)
            return None
        if now < self.next_at:
            return None
        decision = self._recorded[self.decided]
        if not self._ruthless and (why := self._not_yet(decision.path, event.candidates)):
            self.waiting = why
            return None
        self.waiting = ""
        self.decided += 1
        self.used[decision.requests[0].fault] += 1
        self._running[decision.number] = decision
        return decision

    def _not_yet(self, path: str, candidates: tuple[Candidate, ...]) -> str:
        hit = {decision.path for decision in self._running.values()}
        busy = hit | {one.path for one in candidates if not one.healthy}
        if path in busy:
            return f"{path} is not healthy"
        if all(one.path != path for one in candidates):
            return f"{path} is not there"
        return "the last fault is not over" if len(busy) >= self._at_once else ""


def redecide(
    rules: MonkeyRules,
    kinds: Iterable[FaultKind],
    recorded: Sequence[Decision],
    refused: Mapping[int, str] | None = None,
) -> list[str]:
    """Decide a recorded run anew, from what was recorded; the differences in words, none when it is the same.

    Args:
        rules: of the recorded run.
        kinds: as they were then.
        recorded: its decisions, in order.
        refused: of these, the numbers that were refused, and why.
    """
    monkey = Monkey(rules, kinds, 0.0)
    differences: list[str] = []
    for decision in recorded:
        anew = monkey.decide(decision.candidates, decision.at, decision.barred)
        if anew != decision:
            was = ", ".join(f"{one.fault} at {one.path}" for one in decision.requests)
            now = ", ".join(f"{one.fault} at {one.path}" for one in anew.requests) if anew else "nothing"
            differences.append(f"decision {decision.number}: {was}; anew: {now}")
            break  # those after it follow from it
        monkey.step(Refused(decision.number) if decision.number in (refused or {}) else Over(decision.number), 0.0)
    return differences


def _pick(things: list[T], count: Callable[[T], int], draw: Callable[[], float]) -> T:
    """One of those that came least often so far, by chance."""
    least = min(count(thing) for thing in things)
    rarest = [thing for thing in things if count(thing) == least]
    return rarest[int(draw() * len(rarest))]


def _key(candidate: Candidate) -> str:
    return f"{candidate.path} {candidate.target}"


def _above(path: str) -> set[str]:
    """All supervisors above ``path``."""
    above: set[str] = set()
    at = TreePath(path)
    while at != "/":
        at = parent_of(at)
        above.add(at)
    return above


def _params(kind: FaultKind, draw: Callable[[], float]) -> dict[str, Scalar]:
    """Words by the seed where a parameter names its choices; what else there is stays as the kind has it."""
    params: dict[str, Scalar] = {}
    for parameter in kind.parameters:
        if parameter.type is ValueType.TEXT and parameter.choices and (kind.name, parameter.name) not in _FIXED:
            params[parameter.name] = parameter.choices[int(draw() * len(parameter.choices))]
    return params
