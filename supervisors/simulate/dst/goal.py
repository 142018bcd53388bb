"""The goal state on the launching node: what outlives a supervisor's process."""

from dataclasses import dataclass

from supervisors.recovery.record import CaseRecord
from supervisors.simulate.dst.process import Proc
from supervisors.tree.child import SupervisorRecord


@dataclass(slots=True)
class Place:
    """Who lives at a path, or lived there last."""

    proc: Proc
    incarnation: int
    epoch: int


class Goal:
    """Durable from the moment it is written; the launching node is not lost in these runs."""

    def __init__(self) -> None:
        self.epoch = 0  #: the last one that was given
        #: what a crashed supervisor left, by its path
        self.records: dict[str, SupervisorRecord] = {}
        self.places: dict[str, Place] = {}
        #: of children of a supervisor that ended
        self.incarnations: dict[str, dict[str, int]] = {}
        self.cases: dict[str, CaseRecord] = {}
        #: seconds of the launching node's clock when a word was given that nobody else acts
        self.agreed: dict[str, float] = {}
        #: by path: the node whose disk has its newest journal
        self.homes: dict[str, str] = {}
        #: by path: its standbys, whether their primary waits for them, and the number of the word that said so
        self.standbys: dict[str, dict[int, tuple[bool, int]]] = {}

    def next_epoch(self) -> int:
        """Greater than every one before."""
        self.epoch += 1
        return self.epoch

    def forget_below(self, top: str) -> None:
        """Nobody will go on with what was there."""
        head = top + "/"
        self.records.pop(top, None)
        for kept in (self.places, self.agreed):
            for path in [path for path in kept if path.startswith(head)]:
                del kept[path]
        for path in [path for path in self.records if path.startswith(head)]:
            del self.records[path]
