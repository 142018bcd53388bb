"""Where the journals of a supervisor's children are, in the goal state; see ``supervisors.recovery.home``."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from supervisors.recovery.home import ANYWHERE, Home, is_new, why_not
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import GoalStore, HostRow
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


def put_home(store: GoalStore, path: str, home: Home = ANYWHERE) -> None:
    """Write it down; by default the child goes on from what it finds where it starts next."""
    store.put(**{HOME + path: msgspec.json.encode(home).decode()})


class Homing:
    """Of the children of one supervisor that journal. Runs in the plane's thread.

    A home is kept as long as its journal, which nothing here ever deletes.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        #: children of which somebody was told that an older journal is here
        self._told: set[str] = set()

    def assigned(self, peer: Peer) -> tuple[str, bool]:
        """Before a life is assigned: why it must not go on from a journal where it is, and whether it has to ask.

        A person who names the rung has it go on all the same, once that was refused and they could know of it.
        """
        row = peer.host
        if row is None or self._shell.hosting.recovery_of(peer.id) is None:
            return "", False
        home = self._read(peer.id)
        why = why_not(home, row.volume)
        if why and not (peer.named and peer.id in self._told):
            self._told.add(peer.id)
            peer.refused = True
            return why, False
        if home is not None and home.volume == row.volume != "" and home != _home(row):
            put_home(self._shell.store, self._shell.child_path(peer.id), _home(row))  # its node came up anew
        return "", is_new(home, row.volume)

    def promoted(self, peer: Peer) -> bool:
        """Before a standby is told to act: whether it has to ask once it has everything."""
        return peer.host is not None and is_new(self._read(peer.id), peer.host.volume)

    def asked(self, peer: Peer, message: AskAct) -> None:
        """A life has everything on its disk: its supervisor writes that down before it acts."""
        shell, row = self._shell, peer.host
        if shell.peers.get(peer.id) is not peer or peer.gone or peer.kill_reason is not None or peer.end is not None:
            return
        if row is None or message.incarnation != peer.incarnation:
            return
        path = shell.child_path(peer.id)
        if not row.volume:
            shell.log.error("{}: the disk of node {} has no id: it must not act there", path, row.node[:8])
            return
        put_home(shell.store, path, _home(row))
        self._told.discard(peer.id)
        shell.send(peer, MayAct(path, peer.incarnation))

    def not_here(self, child_id: str) -> str:
        """Why this machine's disk does not have its newest state; empty: it has."""
        home = self._read(child_id)
        return why_not(home, self._volume()) if home is not None else ""

    def near(self, child_id: str) -> Home | None:
        """Where a life that journals is to be; None: anywhere."""
        home = self._read(child_id)
        if home is None or not home.volume:
            return None
        return home if home.volume != self._volume() else Home(home.volume, self._shell.factory.node)

    def _volume(self) -> str:
        return volume_id(Path(self._shell.boot.data_dir))

    def _read(self, child_id: str) -> Home | None:
        path = self._shell.child_path(child_id)
        try:
            return home_of(self._shell.store, path)
        except msgspec.MsgspecError as error:
            self._shell.log.error("{}: where its journal is cannot be read: {}", path, error)
            return None


def _home(row: HostRow) -> Home:
    """Of a host on another node the plane's address tells the node's."""
    address = "" if row.local else row.endpoint.removeprefix("tcp://").rpartition(":")[0]
    return Home(row.volume, row.node, address)
