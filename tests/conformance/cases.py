"""The 93 cases of OTP's supervisor_SUITE (2025), by name, and what became of each here."""

import ast
from dataclasses import dataclass
from pathlib import Path

GROUPS: dict[str, str] = {
    "sup_start": """
        sup_start_normal sup_start_ignore_init sup_start_ignore_child sup_start_ignore_temporary_child
        sup_start_ignore_temporary_child_start_child sup_start_ignore_temporary_child_start_child_simple
        sup_start_ignore_permanent_child_start_child_simple sup_start_error_return sup_start_fail
        sup_start_child_returns_error sup_start_restart_child_returns_error sup_start_child_returns_error_simple
        """,
    "sup_start_map": "sup_start_map sup_start_map_simple sup_start_map_faulty_specs",
    "sup_stop": """
        sup_stop_infinity sup_stop_timeout sup_stop_timeout_dynamic sup_stop_brutal_kill sup_stop_brutal_kill_dynamic
        sup_stop_race sup_stop_non_shutdown_exit_dynamic
        """,
    "admin": "child_adm child_adm_simple extra_return child_specs child_specs_map sup_flags multiple_restarts",
    "strategies": """
        one_for_one one_for_one_escalation one_for_all one_for_all_escalation one_for_all_other_child_fails_restart
        rest_for_one rest_for_one_escalation rest_for_one_other_child_fails_restart simple_one_for_one
        simple_one_for_one_escalation simple_one_for_one_extra simple_one_for_one_shutdown
        simple_one_for_one_corruption simple_one_for_one_restart_ignore
        """,
    "termination": """
        permanent_normal permanent_shutdown permanent_abnormal transient_normal transient_shutdown transient_abnormal
        temporary_normal temporary_shutdown temporary_abnormal faulty_application_shutdown
        external_start_no_progress_log
        """,
    "unlink, tree": "child_unlink tree",
    "significant": """
        nonsignificant_temporary nonsignificant_transient significant_temporary significant_transient
        significant_simple significant_bystander significant_escalation significant_upgrade_never_any
        significant_upgrade_any_never significant_upgrade_never_all significant_upgrade_all_never
        significant_upgrade_any_all significant_upgrade_all_any significant_upgrade_child
        """,
    "misc": """
        count_children count_children_supervisor count_restarting_children get_callback_module
        do_not_save_start_parameters_for_temporary_children do_not_save_child_specs_for_temporary_children
        simple_one_for_one_scale_many_temporary_children temporary_bystander simple_global_supervisor
        hanging_restart_loop hanging_restart_loop_rest_for_one hanging_restart_loop_simple code_change code_change_map
        code_change_simple code_change_simple_map order_of_children scale_start_stop_many_children format_log_1
        format_log_2 already_started_outside_supervisor which_children which_children_simple_one_for_one
        """,
}

#: cases without a meaning here, and why; never also a test
NO_MEANING: dict[str, str] = {
    "sup_start_error_return": "There is no init callback whose return value could be wrong: a supervisor is a typed, "
    "checked value (`SupervisorSpec`), and what can be wrong with that is in sup_start_map_faulty_specs and sup_flags.",
    "extra_return": "A start gives back nothing beside the process, so there is no extra term to pass through; what a "
    "child has to tell goes through its context.",
    "external_start_no_progress_log": "About which lines OTP's progress log leaves out. Here every start is on the "
    "trail on purpose, those by hand too.",
    "get_callback_module": "There is no callback module: the supervisor is configured by data.",
    "format_log_1": "About the text OTP's logger makes of supervisor reports; the trail has records of its own.",
    "format_log_2": "About single-line and depth limits of that text.",
}

#: cases that assert something close to OTP's rather than the same, and how
ADAPTED: dict[str, str] = {
    "sup_start_ignore_init": "a supervisor below another answers ignore",
    "child_adm": "terminate takes an id, never a pid; a forgotten id keeps counting its incarnations",
    "child_adm_simple": "a dynamic child is named by an id, so one that is gone is not_found",
    "child_specs": "types are checked by the type system and the topology reader, values here",
    "code_change": "the order `change_specs` in place of a release upgrade",
    "code_change_map": "the order `change_specs` in place of a release upgrade",
    "code_change_simple": "the order `change_specs` in place of a release upgrade",
    "code_change_simple_map": "a change between simple_one_for_one and the others is refused",
    "child_unlink": "no links here: the end that is never told is met by time-out and kill",
    "simple_global_supervisor": "names are paths",
    "already_started_outside_supervisor": "the error carries the text that names the foreign process",
    "which_children": "in start order; OTP lists the other way round",
}

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One case: ``test`` is ``file::function`` where it is implemented, else ``reason`` says why not."""

    name: str
    group: str
    test: str = ""
    reason: str = ""


def names() -> list[tuple[str, str]]:
    """(group, name) of all cases, in the suite's order."""
    return [(group, name) for group, text in GROUPS.items() for name in text.split()]


def written_tests() -> list[tuple[str, str]]:
    """(file, case) of every ``test_<case>`` in this folder, read from the sources; helpers' own tests excluded."""
    found = []
    for path in sorted(_HERE.glob("test_*.py")):
        if path.name in ("test_accounted.py", "test_differential.py"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            (path.name, node.name.removeprefix("test_"))
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
    return found


def cases() -> list[Case]:
    """What became of each of the 93."""
    where = {case: f"{file}::test_{case}" for file, case in written_tests()}
    return [Case(name, group, where.get(name, ""), NO_MEANING.get(name, "")) for group, name in names()]
