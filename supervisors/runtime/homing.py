"""Where the journals of a supervisor's children are, in the goal state; see ``supervisors.recovery.home``."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from supervisors.recovery.home import Home, is_elsewhere, why_not
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import GoalStore
from supervisors.signals.messages import AskAct, MayAct
from supervisors.state.volume import volume_id

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

HOME = "home:"


def home_of(store: GoalStore, path: str) -> Home | None:
    """Where the newest journal of the child at ``path`` is; None: nobody acted there yet.

    Raises:
        msgspec.MsgspecError: what was written down cannot be read.
    """
    kept = store.get(HOME + path)
    return msgspec.json.decode(kept, type=Home) if kept else None


def forget_home(store: GoalStore, path: str) -> None:
    """The child goes on from what it finds where it starts next."""
    store.forget(HOME + path)


class Homing:
    """Of the children of one supervisor that have a recovery policy. Runs in the plane's thread.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell

    def assigned(self, peer: Peer) -> str:
        """Before a life is told to act: why it must not go on from a journal where it is; else that is its home.

        Where a person named the rung, the journal there is the newest from now on.
        """
        if peer.host is None or self._shell.hosting.recovery_of(peer.id) is None:
            return ""
        why = "" if peer.named else why_not(self._read(peer.id), peer.host.volume)
        if not why:
            self.acts(peer)
        return why

    def asks(self, peer: Peer) -> bool:
        """Before a standby is told to act: whether it has to ask once more, having everything on a disk of its own."""
        return peer.host is not None and is_elsewhere(self._read(peer.id), peer.host.volume)

    def asked(self, peer: Peer, message: AskAct) -> None:
        """A standby has everything on its disk: its supervisor writes that down before it acts."""
        shell = self._shell
        if shell.peers.get(peer.id) is not peer or peer.gone or peer.kill_reason is not None or peer.end is not None:
            return
        if message.incarnation == peer.incarnation:
            self.acts(peer)
            shell.send(peer, MayAct(shell.child_path(peer.id), peer.incarnation))

    def acts(self, peer: Peer) -> None:
        """A life acts, or is about to: where it writes is the newest journal from now on."""
        row = peer.host
        if row is None or not row.volume or self._shell.hosting.recovery_of(peer.id) is None:
            return  # without a volume nothing can be written there
        home = Home(row.volume, row.node)
        if home != self._read(peer.id):
            path = self._shell.child_path(peer.id)
            self._shell.store.put(**{HOME + path: msgspec.json.encode(home).decode()})

    def not_here(self, child_id: str) -> str:
        """Why this machine's disk does not have its newest state; empty: it has."""
        home = self._read(child_id)
        return why_not(home, volume_id(Path(self._shell.boot.data_dir))) if home is not None else ""

    def node_of(self, child_id: str) -> str:
        """The node where its newest journal is; empty: any."""
        home = self._read(child_id)
        return home.node if home is not None else ""

    def forget(self, child_id: str) -> None:
        """The child is gone for good."""
        forget_home(self._shell.store, self._shell.child_path(child_id))

    def _read(self, child_id: str) -> Home | None:
        path = self._shell.child_path(child_id)
        try:
            return home_of(self._shell.store, path)
        except msgspec.MsgspecError as error:
            self._shell.log.error("{}: where its journal is cannot be read: {}", path, error)
            return None
