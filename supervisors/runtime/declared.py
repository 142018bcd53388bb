"""Faults a topology declares: the launcher injects them once the system is up (FLT-1)."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from supervisors.core.errors import RayvisorError
from supervisors.faults.request import FaultRequest
from supervisors.runtime.injecting import Injector
from supervisors.spec.compiled import DeclaredFault, FaultsSpec


def request_of(declared: DeclaredFault) -> FaultRequest:
    """What a declared fault asks for."""
    return FaultRequest(
        fault=declared.fault,
        path=declared.path,
        params=declared.params,
        seconds=declared.seconds,
        probability=declared.probability,
        first=declared.first,
        seed=declared.seed,
    )


def inject_declared(data_dir: Path, faults: FaultsSpec, ended: threading.Event, said: Callable[[str], None]) -> None:
    """Inject each at its time, until the system ends; one that is refused is said, and the next one goes on.

    Args:
        data_dir: of the system, which is up now.
        faults: with those declared.
        ended: set when the system ends.
        said: told of each, for people.
    """
    began = time.monotonic()
    try:
        injector = Injector(data_dir)
    except RayvisorError as error:
        said(f"declared faults: {error}")
        return
    with injector:
        for declared in sorted(faults.inject, key=lambda one: one.after):
            if ended.wait(max(0.0, began + declared.after - time.monotonic())):
                return
            try:
                injection = injector.inject(request_of(declared))
                said(f"injected {declared.fault} at {declared.path} ({injection.id}), as the topology declares")
            except RayvisorError as error:
                said(f"declared fault {declared.fault} at {declared.path} was not injected: {error}")
        # its faults are tied to it: they last until they are over, or the system ends
        ended.wait()
