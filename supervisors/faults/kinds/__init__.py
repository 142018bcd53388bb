"""The framework's kinds of fault, a module for each group; ``CATALOGUE`` holds them all."""

from supervisors.faults.catalogue import Catalogue
from supervisors.faults.kinds import actor, control, message, network, process, resource, state

#: every kind of the framework; kinds of actors are added to a copy (``with_kinds``)
CATALOGUE = Catalogue(
    (
        *process.KINDS,
        *actor.KINDS,
        *message.KINDS,
        *state.KINDS,
        *control.KINDS,
        *resource.KINDS,
        *network.KINDS,
    )
)
