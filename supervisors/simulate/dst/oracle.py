"""The checks, made while a run goes on: what must never happen, by the names of the catalogue (INV-1 to INV-10)."""

from math import floor
from typing import TYPE_CHECKING, NamedTuple

from supervisors.simulate.dst.disk import Rec
from supervisors.simulate.dst.goal import Place
from supervisors.simulate.dst.ledger import Ledger
from supervisors.simulate.dst.life import Life
from supervisors.simulate.dst.model import LAUNCH
from supervisors.simulate.dst.process import Proc
from supervisors.tree.child import ChildState, SupervisorRecord
from supervisors.tree.messages import ChildExited, ChildStartFailed, Note, NoteKind, StartChild
from supervisors.tree.model import ALONE, ChildType, OnSupervisorCrash, Restart, Strategy

if TYPE_CHECKING:
    from supervisors.simulate.dst.shell import Peer, Shell
    from supervisors.simulate.dst.world import World


class Violation(NamedTuple):
    """What must never happen and did."""

    invariant: str
    t: float
    path: str
    what: str


class Oracle:
    """Judges one run. It stops at the first violation.

    Args:
        world: what it judges.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violation: Violation | None = None
        self._acked: dict[str, set[int]] = {}
        #: by path: each epoch under which a life acted, and whose it was
        self._epochs: dict[str, dict[int, int]] = {}
        self._lives: dict[str, list[Life]] = {}
        #: deaths that somebody has yet to hear of
        self._unheard: dict[int, str] = {}
        #: processes whose end somebody knows of, or takes for certain
        self._heard: set[int] = set()
        self._windows: dict[str, dict[str, list[int]]] = {}
        self._starts: dict[tuple[str, str], int] = {}
        #: by supervisor: siblings that share the fate of one that failed, with the incarnation they had
        self._fates: dict[str, dict[str, int]] = {}
        self._rejected: set[str] = set()
        #: holds nobody has answered, by path, with the newest epoch of then: an older life may be cut off and go on
        self._holds: dict[str, tuple[str, int]] = {}

    def violated(self, invariant: str, path: str, what: str) -> None:
        """The first one counts."""
        if self.violation is None:
            self.violation = Violation(invariant, self._world.kernel.now, path, what)
            self._world.kernel.halted = True
            self._world.kernel.note("violated", path, f"{invariant}: {what}")

    # ------------------------------------------------------------ events (INV-1, INV-2, INV-4)

    def client_has(self, path: str, event: int) -> None:
        """An acknowledgement has reached a client."""
        self._acked.setdefault(path, set()).add(event)
        life = self._world.acting(path)
        if life is not None and event not in life.state:
            self.violated("INV-1", path, f"event {event} is acknowledged and not in the state of epoch {life.epoch}")

    def acknowledged(self, life: Ledger, record: Rec) -> None:
        """A life takes an event for acknowledged."""
        newest = max(self._epochs.get(life.path, {0: 0}))
        if life.epoch < newest and not self._world.parts.keep_deadline:
            self.violated(
                "INV-4", life.path, f"epoch {life.epoch} acknowledged event {record.event} after {newest} acted"
            )
        if len(life.state) != record.sequence:
            self.violated("INV-2", life.path, f"{len(life.state)} events are applied at sequence {record.sequence}")

    def accepted_late(self, life: Ledger, newer: int) -> None:
        """A journal took a batch of an epoch that is over."""
        self.violated("INV-4", life.path, f"the journal took a batch of epoch {life.epoch} after {newer} opened it")

    # ------------------------------------------------------------ who acts (INV-1, INV-2, INV-3)

    def acts(self, life: Life) -> None:
        """A life begins to act; one whose lease ran out while it started does not, and is about to find that out."""
        world, path = self._world, life.path
        if not life.may_act():
            return
        world.kernel.note("acts", path, f"epoch {life.epoch} pid {life.proc.pid} on {life.proc.node}")
        hold, newest = self._holds.get(path, ("", 0))
        if hold and life.epoch > newest:
            self.violated("INV-7", path, f"epoch {life.epoch} acts, and nobody has answered {hold}")
        epochs = self._epochs.setdefault(path, {})
        if life.epoch in epochs and epochs[life.epoch] != life.proc.pid:
            self.violated("INV-3", path, f"two lives act under epoch {life.epoch}")
        if epochs and life.epoch < max(epochs):
            self.violated("INV-4", path, f"epoch {life.epoch} acts after epoch {max(epochs)}")
        epochs[life.epoch] = life.proc.pid
        others = [one for one in self._lives.get(path, []) if one is not life and one.proc.alive and not one.over]
        for other in others:
            if other.may_act() and not self._may_overlap(other):
                self.violated("INV-3", path, f"epochs {other.epoch} and {life.epoch} act at once")
        self._lives[path] = [*others, life]
        if isinstance(life, Ledger):
            self._whole(life)

    def _may_overlap(self, other: Life) -> bool:
        """Without a lease nothing keeps a life on a lost node from going on (docs/guarantees.md N-4)."""
        recovery = other.worker.recovery
        return other.proc.node != LAUNCH and (recovery is None or recovery.lease is None)

    def _whole(self, life: Ledger) -> None:
        held = set(life.state)
        if len(held) != len(life.state):
            twice = next(event for event in life.state if life.state.count(event) > 1)
            self.violated("INV-2", life.path, f"event {twice} is applied twice under epoch {life.epoch}")
        lost = self._acked.get(life.path, set()) - held
        if lost:
            what = f"event {min(lost)} was acknowledged and epoch {life.epoch} does not have it"
            self.violated("INV-1", life.path, f"{what} ({len(lost)} in all)")

    # ------------------------------------------------------------ detection (INV-5, INV-6)

    def ended(self, proc: Proc, cause: str) -> None:
        """A process is gone."""
        if cause.startswith(("fault", "its node", "ended by itself")):
            if proc.path != "/" and proc.pid not in self._heard and self._is_placed(proc):
                self._unheard[proc.pid] = cause
            return
        life = proc.life
        over = life.over if life is not None else proc.shell.over if proc.shell is not None else False
        if cause == "exit notice" and not over and not proc.doomed:
            self.violated("INV-6", proc.path, f"pid {proc.pid} was ended for news of another life")
        if cause.startswith("verdict") and not proc.doomed:
            self.violated("INV-6", proc.path, f"pid {proc.pid} was taken for hung and nothing had befallen it")

    def _is_placed(self, proc: Proc) -> bool:
        """Somebody counts on it: a process that was made and not assigned yet is nobody's."""
        goal = self._world.goal
        place = goal.places.get(proc.path)
        return (place is not None and place.proc is proc) or proc.pid in goal.standbys.get(proc.path, {})

    def heard(self, proc: Proc) -> None:
        """A supervisor knows that it is gone."""
        self._unheard.pop(proc.pid, None)
        self._heard.add(proc.pid)

    def told(self, shell: "Shell", peer: "Peer", event: ChildExited | ChildStartFailed) -> None:
        """A supervisor takes a life for ended."""
        proc = peer.proc
        if proc is not None and proc.alive and proc.node not in self._world.lost:
            self.violated("INV-6", shell.child_path(peer.id), f"pid {proc.pid} lives and was taken for ended")

    # ------------------------------------------------------------ supervisors (INV-7, INV-8, INV-9)

    def booted(self, shell: "Shell") -> None:
        """A supervisor begins afresh: so does what is counted of it."""
        path = shell.path
        if path in self._world.tree.pools:  # its children are new ones, whatever they are called
            self._holds = {held: hold for held, hold in self._holds.items() if held.rpartition("/")[0] != path}
        self._windows[path] = {}
        self._fates[path] = {}
        for key in [key for key in self._starts if key[0] == path]:
            del self._starts[key]

    def resumed(self, shell: "Shell", record: SupervisorRecord) -> None:
        """A supervisor goes on where another crashed, maybe between writing a restart down and saying so."""
        second = floor(self._world.kernel.now)
        for name, kept in {"": record.stamps, **record.budgets}.items():
            period = self._limits(shell.path, name)[1]
            stamps = self._windows.setdefault(shell.path, {}).setdefault(name, [])
            stamps[:] = [stamp for stamp in stamps if stamp + period >= second]
            if len([stamp for stamp in kept if stamp + period >= second]) == len(stamps) + 1:
                stamps.append(kept[0])

    def _limits(self, path: str, name: str) -> tuple[int, int]:
        """Restarts allowed, and within how many seconds."""
        flags = self._world.tree.supervisors[path].flags
        budget = next((one for one in flags.budgets if one.name == name), flags)
        return budget.intensity, budget.period

    def supervisor_ended(self, shell: "Shell") -> None:
        """All its children are stopped, it says."""
        for peer in shell.by_pid.values():
            if (
                peer.proc is not None
                and peer.proc.alive
                and not peer.standby
                and peer.proc.node not in self._world.lost
            ):
                self.violated(
                    "INV-10", shell.child_path(peer.id), f"pid {peer.proc.pid} runs, its supervisor has ended"
                )

    def starts(self, shell: "Shell", order: StartChild) -> None:
        """A child is to be started."""
        child = shell.machine.children[order.id]
        key = (shell.path, order.id)
        self._starts[key] = self._starts.get(key, 0) + 1
        if child.spec.restart is Restart.TEMPORARY and self._starts[key] > 1:
            self.violated("INV-7", shell.child_path(order.id), "a temporary child is started again")

    def stops(self, shell: "Shell", child_id: str) -> None:
        """A child is told to end: those started after it must be gone."""
        if shell.machine.is_simple:
            return
        child = shell.machine.children.get(child_id)
        if child is None or not self._was_up(shell, child_id):
            return
        behind = False
        for other_id in shell.machine.children:
            if other_id == child_id:
                behind = True
            elif behind and self._was_up(shell, other_id):
                what = f"stopped while {other_id}, which was started after it, runs"
                self.violated("INV-9", shell.child_path(child_id), what)
                return

    def _was_up(self, shell: "Shell", child_id: str) -> bool:
        peer = shell.peers.get(child_id)
        if peer is None or peer.gone or peer.proc is None or not peer.proc.alive:
            return False
        life = peer.proc.life
        return life.acting if life is not None else peer.proc.shell is not None and peer.proc.shell.up

    def noted(self, shell: "Shell", note: Note) -> None:
        """A decision of a supervisor."""
        kind = note.kind
        if kind is NoteKind.RESTART_DECIDED:
            self._counted(shell, note, gave_up="")
            self._fate(shell, note.id, note.incarnation)
        elif kind is NoteKind.GAVE_UP:
            why = str(dict(note.data).get("why", ""))
            if why == "intensity" or why.startswith("budget"):
                self._counted(shell, note, gave_up=why)

    def _counted(self, shell: "Shell", note: Note, *, gave_up: str) -> None:
        """Restarts within the intensity: counted here once more, from the spec alone."""
        name = gave_up.partition(":")[2] if gave_up else str(dict(note.data).get("budget", ""))
        limit, period = self._limits(shell.path, name)
        second = floor(self._world.kernel.now)
        stamps = self._windows.setdefault(shell.path, {}).setdefault(name, [])
        stamps[:] = [stamp for stamp in stamps if stamp + period >= second]
        stamps.append(second)
        words = f"{len(stamps)} restarts within {period} s, {limit} are allowed"
        if not gave_up and len(stamps) > limit:
            self.violated("INV-8", shell.path, f"{words}: it goes on")
        elif gave_up and len(stamps) <= limit:
            self.violated("INV-8", shell.path, f"{words}: it gave up")

    def _fate(self, shell: "Shell", child_id: str, incarnation: int) -> None:
        """Who runs and has to be restarted together with it. The machine is ahead of the processes here."""
        strategy = self._world.tree.supervisors[shell.path].flags.strategy
        children = shell.machine.children
        child = children.get(child_id)
        if strategy in ALONE or child is None:
            return
        if child.spec.type is ChildType.SUPERVISOR and child.spec.on_crash is OnSupervisorCrash.ADOPT:
            return
        ids = list(children)
        group = ids[ids.index(child_id) :] if strategy is Strategy.REST_FOR_ONE else ids
        fates = self._fates.setdefault(shell.path, {})
        fates[child_id] = max(fates.get(child_id, 0), incarnation)
        for other_id in group:
            if other_id != child_id and self._was_up(shell, other_id):
                fates[other_id] = max(fates.get(other_id, 0), shell.peers[other_id].incarnation)

    def held(self, path: str, hold: str) -> None:
        """It is written down that a child waits for a person, whoever crashes from now on."""
        if self._holds.get(path, ("", 0))[0] == hold:
            return
        row = self._world.store.read(path)
        self._holds[path] = hold, max(self._world.goal.epoch, row.token if row is not None else 0)

    def hold_over(self, path: str) -> None:
        """It was answered, or the child is not wanted any more."""
        self._holds.pop(path, None)

    def rejected(self, shell: "Shell", child_id: str) -> None:
        """A person decided that it stays down."""
        self._rejected.add(shell.child_path(child_id))

    # ------------------------------------------------------------ the end (INV-5, INV-7, INV-10)

    def settled(self) -> None:
        """The faults are over and time has passed: each child is healthy, held, or ended as its policy says."""
        world = self._world
        for pid, cause in self._unheard.items():
            self.violated("INV-5", world.procs[pid].path, f"the end of pid {pid} was never heard of ({cause})")
            return
        if world.root_ended is None:
            self._settled_below("/")
        self._orphans()

    def _settled_below(self, path: str) -> None:
        world = self._world
        proc = world.supervisors.get(path)
        shell = proc.shell if proc is not None else None
        if shell is None or shell.over:
            self.violated("INV-7", path, "this supervisor does not run")
            return
        fates = self._fates.get(path, {})
        for child in shell.machine.children.values():
            child_path = shell.child_path(child.id)
            peer = shell.peers.get(child.id)
            if child.state is ChildState.RUNNING:
                if peer is None or peer.proc is None or not peer.proc.alive or peer.gone:
                    self.violated("INV-7", child_path, "taken for running, and there is no process")
                elif peer.proc.life is not None and not peer.proc.life.may_act():
                    self.violated("INV-7", child_path, "it runs and may not act")
                elif fates.get(child.id, 0) >= child.incarnation:
                    self.violated("INV-7", child_path, "a sibling failed whose fate it shares: it was not restarted")
                elif peer.proc.life is not None and isinstance(peer.proc.life, Ledger):
                    self._whole(peer.proc.life)
                if child.spec.type is ChildType.SUPERVISOR and self.violation is None:
                    self._settled_below(child_path)
            elif child.state is ChildState.HELD:
                if not shell.hands.waits_for_person(child.id):
                    self.violated("INV-7", child_path, "held, and nobody is asked")
            elif child.state is not ChildState.UNDEFINED:
                self.violated("INV-7", child_path, f"still {child.state}")
            elif child.wanted and not child.waits_for:
                self.violated("INV-7", child_path, "wanted, and nothing is done about it")
            elif not child.wanted and child.spec.restart is Restart.PERMANENT and child_path not in self._rejected:
                self.violated("INV-7", child_path, "it is down for good and nobody wanted that")
            if self.violation is not None:
                return

    def _orphans(self) -> None:
        """Every process has a place."""
        world = self._world
        for path, procs in world.at_path.items():
            for proc in procs:
                if world.supervisors.get(path) is proc or proc.pid in world.goal.standbys.get(path, {}):
                    continue
                place: Place | None = world.goal.places.get(path)
                if place is not None and place.proc is proc:
                    above = world.supervisors.get(path.rpartition("/")[0] or "/")
                    if above is not None and above.shell is not None and proc.pid in above.shell.by_pid:
                        continue
                self.violated("INV-10", path, f"pid {proc.pid} on {proc.node} belongs to nobody")
                return

    def over(self) -> None:
        """The system was shut down: nothing is left."""
        world = self._world
        if world.root_ended is None:
            self.violated("INV-7", "/", "it does not come to an end")
            return
        for path, procs in world.at_path.items():
            for proc in procs:
                self.violated("INV-10", path, f"pid {proc.pid} on {proc.node} is left")
                return
