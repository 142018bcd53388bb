"""Commands that act on a running system: kill, call, child start | stop | restart | delete."""

import json
import os
import signal
from typing import Annotated

import msgspec
import typer

from supervisors.cli.common import DEFAULT_DATA_DIR, FAILED, AsJson, DataDir, err, existing, out, print_line, tree_path
from supervisors.core.errors import AdminError, LaunchError, RayvisorError, SpecError
from supervisors.core.paths import ROOT, failure_id, id_of, parent_of
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.store import GoalStore
from supervisors.signals.proc import pid_alive
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter

PathArgument = Annotated[str, typer.Argument(help="A place in the tree, such as /cell/md.")]


def kill(
    path: PathArgument,
    signal_: Annotated[str, typer.Option("--signal", help="Name or number: KILL, STOP, TERM, SEGV, 9.")] = "KILL",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Send a signal to the process at PATH, to see it heal. The trail is told first: detection is timed from there.

    Example: rayvisor kill /cell/md --signal STOP
    """
    place = tree_path(path)
    number = _signal(signal_)
    folder = existing(data_dir)
    store = GoalStore(folder)
    row = store.place(place)
    host = store.host(row.host) if row is not None and row.host else None
    if row is None:
        raise LaunchError(f"nothing is at {place}", code=2060, fix="rayvisor tree shows what is")
    if host is not None and not host.local and not pid_alive(host.pid, host.start_time):
        raise LaunchError(f"{place} runs on another machine, node {host.node[:8]}", code=2062, fix="kill it there")
    if host is None or not pid_alive(host.pid, host.start_time):
        raise LaunchError(f"no process runs at {place} now (it is {row.state})", code=2061, fix="try again")
    trail = TrailWriter(folder / "trail", "cli", SystemClock())
    trail.write(
        EventKind.FAULT_INJECTED,
        place,
        row.incarnation,
        row.epoch,
        failure=failure_id(place, row.incarnation),
        data={"fault": number.name, "pid": host.pid},
    )
    os.kill(host.pid, number)
    if json_:
        print_line(json.dumps({"path": place, "pid": host.pid, "signal": number.name, "incarnation": row.incarnation}))
    else:
        out.print(f"{number.name} sent to {place}#{row.incarnation}, process {host.pid}", markup=False)


def call(
    path: PathArgument,
    method: Annotated[str, typer.Argument(help="A public method of the actor.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments as JSON; plain text is text.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds.")] = 3.0,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Call a method of the actor at PATH, whichever incarnation of it lives, and print the answer as JSON.

    Example: rayvisor call /cell/md status
    """
    from supervisors.runtime.system import System

    place = tree_path(path)
    with System.connect(existing(data_dir)) as system:
        try:
            answer = system.call(place, method, *[_argument(text) for text in arguments or ()], timeout=timeout)
        except RayvisorError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the actor's method raised is the answer
            lines = [line for line in str(error).splitlines() if line.strip()]
            err.print(f"{place}.{method} raised {lines[-1] if lines else type(error).__name__}", markup=False)
            raise typer.Exit(FAILED) from None
    print_line(msgspec.json.encode(answer, enc_hook=str).decode())


child = typer.Typer(help="A supervisor's orders: start, stop, restart and delete children (OTP's supervisor API).")


@child.command()
def start(
    supervisor: Annotated[str, typer.Argument(help="Path of a simple_one_for_one supervisor.")],
    id_: Annotated[str, typer.Option("--id", help="Its id; the next free one otherwise.")] = "",
    config: Annotated[str, typer.Option("--config", help="JSON object laid over the template's config.")] = "{}",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Start a dynamic child.

    Example: rayvisor child start /pool --config '{"symbol": "ethusdt"}'
    """
    _order(str(tree_path(supervisor)), "start_child", id_, config, data_dir, json_)


@child.command()
def stop(path: PathArgument, data_dir: DataDir = DEFAULT_DATA_DIR, json_: AsJson = False) -> None:
    """Stop a child; it stays down until it is restarted by hand or with its group (OTP's terminate_child).

    Example: rayvisor child stop /cell/md
    """
    _order_child(path, "terminate_child", data_dir, json_)


@child.command()
def restart(path: PathArgument, data_dir: DataDir = DEFAULT_DATA_DIR, json_: AsJson = False) -> None:
    """Start a child that was stopped (OTP's restart_child).

    Example: rayvisor child restart /cell/md
    """
    _order_child(path, "restart_child", data_dir, json_)


@child.command()
def delete(path: PathArgument, data_dir: DataDir = DEFAULT_DATA_DIR, json_: AsJson = False) -> None:
    """Forget a child that was stopped (OTP's delete_child).

    Example: rayvisor child delete /cell/md
    """
    _order_child(path, "delete_child", data_dir, json_)


def _order_child(path: str, order: str, data_dir: DataDir, json_: bool) -> None:
    place = tree_path(path)
    if place == ROOT:
        raise SpecError("the root has no supervisor to ask", code=1506, fix="rayvisor down ends the system")
    _order(parent_of(place), order, id_of(place), "", data_dir, json_)


def _order(supervisor: str, order: str, child_id: str, args: str, data_dir: DataDir, json_: bool) -> None:
    from supervisors.runtime.observer import Observer

    observer = Observer(existing(data_dir))
    try:
        answer = observer.order(supervisor, order, child_id, args)
    finally:
        observer.close()
    if json_:
        fields = msgspec.structs.asdict(answer)
        del fields["ref"]  # of the frame, not of the order
        print_line(msgspec.json.encode(fields).decode())
    elif not answer.error:
        life = f"#{answer.incarnation}" if answer.incarnation else ""
        out.print(f"{order} {supervisor.rstrip('/')}/{answer.id}{life}: ok", markup=False)
    if answer.error:
        detail = f": {answer.detail}" if answer.detail else ""
        raise AdminError(f"{answer.error}: {order} {child_id} under {supervisor}{detail}")


def _signal(text: str) -> signal.Signals:
    name = text.upper().removeprefix("SIG")
    try:
        return signal.Signals(int(name)) if name.isdigit() else signal.Signals[f"SIG{name}"]
    except (KeyError, ValueError):
        raise SpecError(f"no signal {text!r}", code=1508, fix="such as KILL, STOP, CONT, TERM, SEGV or 9") from None


def _argument(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


COMMANDS = (kill, call)
