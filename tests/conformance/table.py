"""Write docs/conformance.md: ``python -m tests.conformance.table``; ``--check`` only says whether it is up to date."""

import sys
from pathlib import Path

from tests.conformance.cases import ADAPTED, cases

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

_INTRO = """\
# Conformance with Erlang/OTP's supervisor

<!-- written by python -m tests.conformance.table -->

Two things are held against OTP: the cases of its own test suite, and its own code.

## The supervisor itself, as the oracle

`tests/conformance/test_differential.py` runs scenarios made up by hypothesis on our machine and on the real
`supervisor` and compares the two traces event by event: starts, failed and ignored starts, exits, stop orders, kills,
the reasons stopped children ended with, replies to orders, and the supervisor's own end. A scenario is a tree of one
to eight workers and up to two supervisors below the root, with every strategy, restart type, shutdown mode,
`significant` and `auto_shutdown`, intensity 0-5 in 1-10 s, and up to 14 actions: exits of each reason, kills of
workers and supervisors, starts that fail N times or are ignored, starts and stops held open while exits and orders
queue up, orders (start, terminate, restart, delete, which, count), changed specs, and time steps.

The oracle (`tests/conformance/oracle.escript`) loads the abstract code that Erlang ships in `supervisor.beam`
(debug_info) under another name, with four calls redirected and nothing else changed: the monotonic clock, so that time
steps cost no time, and three calls that are noted in the trace and then carried out as before (the exit signal to a
child, the reason its end gave, the reason of an exit received). A time-out of a stop is the one thing waited for in
real time, 1 ms. After each action the driver waits until every supervisor is idle.

Neutralised before comparing, all explained in [semantics.md](semantics.md): a supervisor that gives up exits with
`shutdown` as OTP's does; `which_children` is compared in start order; dynamic children, stopped all at once, end in any
order; a terminated dynamic child that is gone already is `ok`. Left out: `ignore` from a dynamic child's restart, which
OTP 25 mishandles (mended in OTP 26), and a shutdown that arrives during a start, which we break off and OTP waits for.

By hand: `python -m tests.conformance.differential --examples 20000 [--seed N] [--json]`. Without `escript` the test is
skipped and says so.

## The cases of supervisor_SUITE

"""


def page() -> str:
    """The whole page."""
    all_cases = cases()
    passed = sum(1 for case in all_cases if case.test)
    lines = [
        _INTRO + f"{len(all_cases)} cases: {passed} implemented and passing, "
        f"{len(all_cases) - passed} without a meaning here.\n"
        "The scenarios are written afresh against the machine; only names and what they assert are OTP's.\n",
        "| group | case | here | test, or why not |",
        "|---|---|---|---|",
    ]
    for case in all_cases:
        status = "passed" if case.test else "no meaning here"
        where = f"`{case.test}`" if case.test else case.reason
        if case.name in ADAPTED:
            where += f": {ADAPTED[case.name]}"
        lines.append(f"| {case.group} | {case.name} | {status} | {where} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """The command; see the module."""
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        return 0 if current == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
