"""Keeps what failed lives leave (REC-3), in threads of its own: those of the shell may all be waiting for Ray."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.runtime import preserving, reporting
from supervisors.runtime.peers import Peer

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds the next attempt waits for what the last one left, at most: a disk may hang
KEEP_LIMIT = 5.0
#: seconds a hung process lives on at most so that it can be asked where it stands
DUMP_LIMIT = 0.5


class Remains:
    """The failed states of one supervisor's children. Runs in the plane's thread.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        #: where hung processes stood, with their incarnation, by child
        self._stacks: dict[str, tuple[int, str]] = {}
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="remains")

    def before_kill(self, peer: Peer, kill: Callable[[], None]) -> None:
        """A hung process is to be killed: ask where it stands first, for at most ``DUMP_LIMIT`` seconds."""
        shell = self._shell
        policy = shell.hosting.recovery_of(peer.id)
        if policy is None or policy.keep_failed == 0 or peer.host is None or not peer.host.local:
            kill()
            return
        pid, killed = peer.host.pid, False

        def once() -> None:
            nonlocal killed
            if not killed:
                killed = True
                kill()

        def dumped(stack: str) -> None:
            self._stacks[peer.id] = peer.incarnation, stack
            once()

        def dump() -> None:
            stack = preserving.stack_of(pid, DUMP_LIMIT)
            shell.loop.call_soon(lambda: dumped(stack))

        shell.loop.call_later(DUMP_LIMIT, once)  # whatever becomes of the thread
        self.threads.submit(dump)

    def has_stack(self, child_id: str) -> bool:
        """A hung process was asked, and nothing of it is kept so far."""
        return child_id in self._stacks

    def keep(self, child_id: str, why: str, kept: Callable[[], None] = lambda: None, peer: Peer | None = None) -> bool:
        """Write down what a life left, then call ``kept`` once; False when nothing is to be kept.

        Args:
            child_id: the child.
            why: it is kept.
            kept: called after ``KEEP_LIMIT`` seconds all the same.
            peer: the life; None: the last one.
        """
        shell = self._shell
        policy = shell.hosting.recovery_of(child_id)
        if policy is None or policy.keep_failed == 0:
            return False
        child = shell.machine.children.get(child_id)
        peer = peer or shell.peers.get(child_id) or Peer(child_id, child.incarnation if child is not None else 0, 0)
        state = reporting.failed_state(shell, peer, why)
        asked, stack = self._stacks.pop(child_id, (0, ""))
        stack = stack if asked == state.incarnation else ""
        keep, data_dir = policy.keep_failed, Path(shell.boot.data_dir)

        def keep_it() -> None:
            try:
                found = preserving.preserve(data_dir, state, keep, stack)
            except Exception as error:  # noqa: BLE001 - whatever it is, the child must not wait for it for ever
                found = preserving.Preserved("", (), (f"{type(error).__name__}: {error}",), 0.0)
            shell.loop.call_soon(lambda: done(found))

        waiting = True

        def go_on() -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                kept()

        def done(found: preserving.Preserved) -> None:
            reporting.write_preserved(shell, child_id, state.incarnation, found)
            go_on()

        shell.loop.call_later(KEEP_LIMIT, go_on)
        self.threads.submit(keep_it)
        return True

    def forget(self, child_id: str) -> None:
        """The child is gone for good."""
        self._stacks.pop(child_id, None)

    def stop(self) -> None:
        """The supervisor ends; what is being written is finished."""
        self.threads.shutdown(wait=False)
