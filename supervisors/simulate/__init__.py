"""``rayvisor simulate``: what a topology would do, worked out on a fake clock (TOP-4). Starts and imports nothing."""

from supervisors.simulate.load import check_script, load_script
from supervisors.simulate.render import plain_timeline, render_summary, render_timeline, timeline_line, to_json_line
from supervisors.simulate.runner import build_world, run_simulation, simulate_deaths, simulate_file
from supervisors.simulate.script import Script
from supervisors.simulate.summary import Summarizer, Summary, answer, summary
from supervisors.testing.trace import TraceEvent, TraceKind

__all__ = [
    "Script",
    "Summarizer",
    "Summary",
    "TraceEvent",
    "TraceKind",
    "answer",
    "build_world",
    "check_script",
    "load_script",
    "plain_timeline",
    "render_summary",
    "render_timeline",
    "run_simulation",
    "simulate_deaths",
    "simulate_file",
    "summary",
    "timeline_line",
    "to_json_line",
]
