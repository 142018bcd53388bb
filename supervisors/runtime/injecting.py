"""The injector: from a request to faults that act, each with its undo record first and a watchdog that watches (FLT-1).

All targets of a request are hit or none: whatever was armed when one fails is reverted. What cannot be undone begins
only once every target said that it would; a target that fails after that leaves the others hit, which the error says.
"""

import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from supervisors.core.errors import FaultError
from supervisors.core.paths import failure_id, parse
from supervisors.faults.catalogue import Catalogue, FaultKind, Target, Where
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import FaultOrder, encode
from supervisors.faults.request import FaultRecord, FaultRequest, RecordState
from supervisors.faults.targets import Candidate, CensusRow, key_of, resolve
from supervisors.faults.undo import FOLDER, UndoLog, boot_time
from supervisors.faults.values import check_whole
from supervisors.runtime import lateness, watching
from supervisors.runtime.carrying import Carrier
from supervisors.runtime.census import Census
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.faultplane import FaultPlane
from supervisors.runtime.reverting import Reverter
from supervisors.runtime.undoing import emergency_stop, end_faults, revert_faults, revert_found
from supervisors.spec.compiled import FaultsSpec
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter

__all__ = ["Injection", "Injector", "emergency_stop", "end_faults", "revert_faults"]

#: added to a record's deadline until its fault is armed: seconds arming may take
_ARMING = 10.0
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
#: seconds between two looks whether there is a watchdog, and those it may be late with a deadline
_LOOK_AFTER, _LATE = 0.5, 1.0


class Injection(msgspec.Struct, frozen=True):
    """What became of a request.

    Attributes:
        id: of the whole; that of the one record, or what comes before the dot in each.
        kind: name of the fault.
        targets: paths.
        records: one for each target.
        injected_at: monotonic seconds just before it acted: the ``t`` of its ``fault_injected`` event.
        seconds: how long it lasts at most.
        arm_ms: milliseconds it took from there until all targets had it.
    """

    id: str
    kind: str
    targets: tuple[str, ...]
    records: tuple[FaultRecord, ...]
    injected_at: float
    seconds: float
    arm_ms: float


class Injector:
    """Injects into the system in one data directory. Thread-safe; close it when done.

    Args:
        data_dir: of the system.
        run: the chaos run its faults belong to.
        tied: its faults are reverted as soon as this process is gone.
        catalogue: kinds it knows; None: the framework's and those of the system's actors.

    Raises:
        FaultError: no system was ever started there (9022).
    """

    def __init__(self, data_dir: Path, *, run: str = "", tied: bool = True, catalogue: Catalogue | None = None) -> None:
        self._data_dir = data_dir.resolve()
        self._run = run
        self._tied = tied
        self._catalogue = catalogue
        self._census = Census(self._data_dir)
        self._log = UndoLog(self._data_dir / FOLDER)
        self._plane = FaultPlane("inject")
        self._reverter = Reverter(self._data_dir, self._log, "injector", plane=self._plane)
        self._carrier = Carrier(self._data_dir, self._log, self._plane, self._census)
        self._clock = SystemClock()
        self._trail = TrailWriter(self._data_dir / "trail", "injector", self._clock)
        self._made_at = boot_time()
        self._lock = threading.Lock()
        self._own: set[str] = set()
        self._looked = 0.0

    # ------------------------------------------------------------ looking

    @property
    def log(self) -> UndoLog:
        """The undo log of the data directory."""
        return self._log

    @property
    def catalogue(self) -> Catalogue:
        """All kinds there are; imports the classes of the system's actors when first asked for."""
        if self._catalogue is None:
            self._catalogue = self._census.catalogue()
        return self._catalogue

    @property
    def aborted(self) -> bool:
        """True once somebody ordered an emergency stop since this injector was made."""
        return self._log.aborted_at() >= self._made_at

    def census(self) -> list[CensusRow]:
        """All possible targets with the processes they have now."""
        return self._census.rows()

    def actor_kinds(self) -> dict[str, tuple[str, ...]]:
        """Names of the kinds each worker's own class adds, by path; those without any are left out."""
        rows = {row.path: row.actor for row in self.census() if row.actor}
        found = {path: tuple(self._census.own_kinds(actor)) for path, actor in rows.items()}
        return {path: names for path, names in found.items() if names}

    def plan(self, request: FaultRequest) -> tuple[Candidate, ...]:
        """Whom it would hit. Checks everything that can be known before, and does nothing.

        Raises:
            FaultError: see ``inject``.
        """
        kind = self._kind(request.fault)
        faults = self._allowed()
        self._values(kind, request, faults)
        return self._targets(kind, request, faults, self._log.unclosed())

    def active(self, *, own: bool = True) -> list[FaultRecord]:
        """Faults that may act still, stuck ones too, oldest first; ``own``: only those of this injector."""
        return [record for record in self._log.unclosed() if not own or record.order.id in self._own]

    # ------------------------------------------------------------ injecting

    def inject(self, request: FaultRequest, *, fault_id: str = "") -> Injection:
        """Write down, then do. Returns once all targets have it.

        Args:
            request: what to do.
            fault_id: of the injection, for a run that is to repeat: chance is seeded by it and by the request's seed.

        Raises:
            FaultError: unknown kind (9002), bad parameters (9003-9005, 9031), bad targets (9006-9009, 9011, 9012),
                another fault excludes it (9010), the target died (9013) or does not answer (9014), the undo record
                cannot be written (9015), emergency stop (9016), no watchdog (9017), no helper (9018), faults are not
                enabled (9020), the system is not up or is stopping (9022), longer than allowed (9030), a value that
                can neither be sent nor written down (9032). Nothing stays armed then; of what cannot be undone (a
                kill, an exit) the text names those that were hit all the same.
        """
        with self._lock:
            kind = self._kind(request.fault)
            faults = self._allowed()
            watching.begin(self._data_dir)  # it comes up while the rest is made ready
            order = self._values(kind, request, faults)
            name = fault_id or "f-" + "".join(secrets.choice(_ALPHABET) for _ in range(6))

            def make(active: list[FaultRecord]) -> list[FaultRecord]:
                """Under the log's lock: nobody else adds a target meanwhile."""
                made = self._records(kind, order, name, self._targets(kind, request, faults, active))
                self._exclude(made, active)
                return made

            records = self._log.plan(make)
            self._own.update(record.order.id for record in records)
            return self._carry_out(kind, name, records)

    def _carry_out(self, kind: FaultKind, name: str, records: list[FaultRecord]) -> Injection:
        began = 0.0
        try:
            watching.ensure(self._data_dir)
            if self.aborted:
                raise _aborted()
            records = self._carrier.prepare(records)
            for record in records:
                self._tell(kind, record)
            began = self._clock.monotonic()
            self._carrier.act(records)
            took = (self._clock.monotonic() - began) * 1000
            ends = boot_time() + records[0].order.seconds
            armed = [self._armed(record, began, ends) for record in records]
        except BaseException as error:
            text = error.message if isinstance(error, FaultError) else type(error).__name__
            self._carrier.tidy()
            for record in records:
                acted = self._carrier.acted(record.order.id)
                self._reverter.revert(record, f"{'broken off' if acted else 'refused'}: {text}", acted=acted)
            raise
        self._carrier.tidy()
        paths = tuple(record.order.path for record in armed)
        return Injection(name, kind.name, paths, tuple(armed), began, armed[0].order.seconds, took)

    def _armed(self, record: FaultRecord, began: float, ends: float) -> FaultRecord:
        """Write down that it acts. One that was reverted meanwhile is undone again: it may have come after that."""

        def change(now: FaultRecord) -> FaultRecord:
            if now.state is not RecordState.PLANNED:
                return now
            return msgspec.structs.replace(now, state=RecordState.ARMED, injected_at=began, deadline=ends)

        now = self._log.update(record.order.id, change)
        if now is not None and now.state is RecordState.ARMED:
            return now
        self._reverter.undo_now(record)
        return now or self._log.get(record.order.id) or record

    # ------------------------------------------------------------ reverting

    def revert(self, fault_id: str | None = None, *, why: str = "asked", by: str = "injector") -> list[FaultRecord]:
        """Undo faults and see them gone. One that somebody else is at is waited for.

        Args:
            fault_id: of a fault or a whole injection; None: all of the data directory.
            why: for what reason.
            by: who.

        Returns:
            The records as they ended: reverted or unrevertable.

        Raises:
            FaultError: there is no such fault (9019).
        """
        return revert_found(self._log, self._reverter, fault_id, why, by)

    def wait_over(self, injection: Injection, timeout: float) -> list[FaultRecord]:
        """Wait until all its faults are closed, by whomever, at most ``timeout`` seconds; the records as they are.

        Nobody else may look after the watchdog: one that was killed is started anew, and what it is late with is
        reverted here, which may take longer than ``timeout``.
        """
        deadline = time.monotonic() + timeout
        while True:
            if time.monotonic() >= self._looked + _LOOK_AFTER:
                self._looked = time.monotonic()
                watching.look_after(self._data_dir)
            now = [self._late(self._log.get(record.order.id) or record) for record in injection.records]
            if all(record.ended for record in now) or time.monotonic() >= deadline:
                return now
            time.sleep(0.02)

    def _late(self, record: FaultRecord) -> FaultRecord:
        """Revert it if its time has been over for a while, unless somebody is at it."""
        if record.ended or boot_time() < record.deadline + _LATE:
            return record
        return self._reverter.revert(record, "its time is over", wait=False)

    def close(self) -> None:
        """Revert what is its own and tied to it, and let go of the rest. Twice is no error."""
        if self._tied and self._own:
            self._reverter.revert_all(self.active(), "its injector ended")
        self._own.clear()
        self._reverter.close()
        self._plane.close()
        self._trail.close()
        self._census.close()

    def __enter__(self) -> "Injector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ checking

    def _kind(self, name: str) -> FaultKind:
        if self._catalogue is None and name in CATALOGUE:
            return CATALOGUE.find(name)  # without importing any actor
        return self.catalogue.find(name)

    def _allowed(self) -> FaultsSpec:
        if self.aborted:
            raise _aborted()
        self._census.check_up()
        faults = self._census.system().faults
        if not faults.enabled:
            raise FaultError(
                "faults are not enabled in this system; nothing was done",
                code=9020,
                fix="faults: {enabled: true} in its topology, and start it anew",
            )
        return faults

    def _values(self, kind: FaultKind, request: FaultRequest, faults: FaultsSpec) -> FaultOrder:
        """The order without a target."""
        params = kind.read(request.params)
        seconds = min(kind.seconds, faults.longest) if request.seconds is None else request.seconds
        if not seconds > 0:
            raise FaultError(f"a fault lasts longer than {seconds:g} s", code=9031, fix="--for 5s")
        if seconds > faults.longest:
            raise FaultError(
                f"{seconds:g} s is longer than a fault may last here ({faults.longest:g} s)",
                code=9030,
                fix="a shorter time, or raise faults.longest in the topology",
            )
        probability = request.probability
        if probability is None:
            probability = 0.0 if request.first else 1.0
        if not 0.0 <= probability <= 1.0 or request.first < 0 or (not probability and not request.first):
            raise FaultError("it would never act", code=9031, fix="a probability above 0 up to 1, or --first 1")
        check_whole(kind.name, seed=request.seed, first=request.first)
        made = FaultOrder(
            id="",
            kind=kind.name,
            path="",
            params=params,
            seconds=seconds,
            hooks=kind.hooks,
            slot=kind.slot,
            probability=probability,
            first=request.first,
            most=0 if kind.lasting else 1,
            seed=request.seed,
            standing=kind.where is Where.STANDING,
            run=self._run,
        )
        encode((made,))  # what can neither be sent nor written down is refused before anything is planned
        return made

    def _targets(
        self, kind: FaultKind, request: FaultRequest, faults: FaultsSpec, active: Sequence[FaultRecord]
    ) -> tuple[Candidate, ...]:
        try:
            path = parse(request.path)
        except ValueError as error:
            raise FaultError(str(error), code=9006, fix="write it as in: rayvisor tree") from None
        rows = self._census.rows()
        if kind.where is Where.ACTOR or kind.name not in CATALOGUE:
            able = [row for row in rows if row.actor and kind.name in self._census.own_kinds(row.actor)]
            if path in {row.path for row in rows} and not any(_within(row.path, path) for row in able):
                which = ", ".join(sorted({row.path for row in able})) or "no actor of this system"
                raise FaultError(f"{kind.name} cannot hit {path}", code=9007, fix=f"it is a fault of {which}")
            # supervisors stay: a set is named by the one above it
            rows = [row for row in rows if row.target is Target.SUPERVISOR] + able
        hit = {key_of(one.order.path, one.hit) for one in active if not self._reverter.over(one)}
        return resolve(kind, request, rows, active=hit, limit=faults.max_targets)

    def _records(
        self, kind: FaultKind, order: FaultOrder, name: str, candidates: Sequence[Candidate]
    ) -> list[FaultRecord]:
        now = boot_time()
        deadline = now + order.seconds + _ARMING
        pid, start = self._reverter.me if self._tied else (0, 0)
        found: list[FaultRecord] = []
        for number, one in enumerate(candidates, 1):
            fault_id = name if len(candidates) == 1 else f"{name}.{number}"
            found.append(
                FaultRecord(
                    order=lateness.until(msgspec.structs.replace(order, id=fault_id, path=one.path), deadline),
                    where=kind.where.value,
                    hit=one.hit,
                    planned_at=now,
                    deadline=deadline,
                    tied=pid,
                    tied_start=start,
                )
            )
        return found

    def _exclude(self, records: Sequence[FaultRecord], active: Sequence[FaultRecord]) -> None:
        for record in records:
            slot, key = record.order.slot, key_of(record.order.path, record.hit)
            for other in active:
                same = slot and other.order.slot == slot and key_of(other.order.path, other.hit) == key
                if same and not self._reverter.over(other):
                    raise FaultError(
                        f"{record.order.kind} and {other.order.kind} ({other.order.id}) exclude each other at {key}",
                        code=9010,
                        fix=f"rayvisor inject revert {other.order.id}",
                    )

    def _tell(self, kind: FaultKind, record: FaultRecord) -> None:
        order, hit = record.order, record.hit
        self._trail.write(
            EventKind.FAULT_INJECTED,
            order.path,
            hit.incarnation,
            failure=failure_id(order.path, hit.incarnation) if hit.incarnation else "",
            data={
                "id": order.id,
                "fault": order.kind,
                "targets": msgspec.json.encode([order.path]).decode(),
                "params": msgspec.json.encode(kind.shown(order.params)).decode(),
                "seconds": order.seconds,
                "where": record.where,
                "run": order.run,
                "pid": hit.pid,
                "standby": hit.standby,
                "seed": order.seed,
            },
        )


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _aborted() -> FaultError:
    return FaultError("an emergency stop was ordered: nothing is injected any more", code=9016, fix="begin a new run")
