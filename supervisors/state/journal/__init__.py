"""The journal: what an actor's events are kept in, each acknowledged only when it would outlast a power failure.

A folder of segments (``<first sequence>-<epoch>.seg``), a control file that knows a second time what was
acknowledged, and a lock for opening. One writer at a time, by its epoch; any number of readers, in any process.
"""

from supervisors.state.journal.committer import GroupCommitter
from supervisors.state.journal.findings import Finding, FindingKind, Removed, Report
from supervisors.state.journal.format import Record, decode_frames
from supervisors.state.journal.preparing import Prepared, prepare
from supervisors.state.journal.reader import JournalReader
from supervisors.state.journal.retention import retain
from supervisors.state.journal.writer import JournalWriter

__all__ = [
    "Finding",
    "FindingKind",
    "GroupCommitter",
    "JournalReader",
    "JournalWriter",
    "Prepared",
    "Record",
    "Removed",
    "Report",
    "decode_frames",
    "prepare",
    "retain",
]
