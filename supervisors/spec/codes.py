"""Every finding a topology can have, with its stable code. Codes are never given a second meaning.

10xx the file, 11xx one value, 12xx how values go together, 13xx actors and their config, 14xx advice.
"""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """error: will not be started; warning: will, but likely not as meant; info: good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: its severity and what it is about, in one line."""

    severity: Severity
    title: str


_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO

FILE_MISSING = 1010
FILE_IS_DIRECTORY = 1011
FILE_UNREADABLE = 1012
NOT_UTF8 = 1013
FILE_EMPTY = 1014
YAML_SYNTAX = 1015
DUPLICATE_KEY = 1016
ALIAS_CYCLE = 1017
NOT_A_MAPPING = 1018
TOO_LARGE = 1019
TAB_INDENT = 1020
UNKNOWN_TAG = 1021
KEY_NOT_TEXT = 1022

UNKNOWN_KEY = 1101
MISSING_KEY = 1102
WRONG_TYPE = 1103
BAD_DURATION = 1104
BAD_SIZE = 1105
BAD_ID = 1106
NOT_ONE_OF = 1107
OUT_OF_RANGE = 1108
BAD_IMPORT_STRING = 1109
BAD_ADDRESS = 1110
BAD_PATH = 1111
NOT_JSON = 1112
BAD_VALUE = 1113
BAD_STATE = 1114
BAD_TIME_OF_DAY = 1115
BAD_TIME_ZONE = 1116

ACTOR_WITH_CHILDREN = 1201
TEMPLATE_WITHOUT_SIMPLE = 1202
CHILDREN_IN_SIMPLE = 1203
SIMPLE_WITHOUT_TEMPLATE = 1204
SIGNIFICANT_PERMANENT = 1205
SIGNIFICANT_NEVER = 1206
DUPLICATE_ID = 1207
UNKNOWN_POLICY = 1208
POLICY_CYCLE = 1209
INITIAL_OVER_MAX = 1210
SIMPLE_ONLY_KEY = 1211
UNKNOWN_PEER = 1212
BACKOFF_ORDER = 1213
HANG_TOO_SOON = 1214
ROOT_KEY = 1215
SUPERVISOR_RECOVERY = 1216
BUDGET_OVERLAP = 1217
LADDER_ORDER = 1218
RULE_FIELD = 1219
RULE_LACKS = 1220
ACK_WITHOUT_STANDBY = 1221
LEASE_TIMING = 1222
RAMP_STEPS = 1223
STEP_WORKER = 1224
STEP_FALLS_TOO = 1225
DUPLICATE_STEP = 1226
STANDBY_TEMPORARY = 1227
MARKET_HOURS = 1228
FAULTS_IN_PRODUCTION = 1229
UNKNOWN_FAULT = 1230
FAULT_PARAMETER = 1231
FAULT_TARGET = 1232

MODULE_NOT_FOUND = 1301
ATTRIBUTE_MISSING = 1302
NOT_A_CLASS = 1303
IMPORT_RAISED = 1304
CONFIG_REFUSED = 1305
CONFIG_UNKNOWN = 1306
CONFIG_MISSING = 1307
CONFIG_UNCHECKED = 1308
STANDBY_NEEDS_APPLY = 1309
COLD_ONLY = 1310
NOTHING_JOURNALED = 1311
STEP_METHOD = 1312

SHUTDOWN_TOO_SHORT = 1401
START_TOO_SHORT = 1402
INTENSITY_NEVER_TRIPS = 1403
RESTARTS_FOR_EVER = 1404
ESCALATION_LOST = 1405
SIGNIFICANT_IDLE = 1406
AUTO_SHUTDOWN_IDLE = 1407
SUPERVISOR_KILLED = 1408
NO_SPARES = 1409
INTENSITY_ZERO = 1410
NO_CHILDREN = 1411
PROCESS_COUNT = 1412
POLICY_UNUSED = 1413
AUTO_SHUTDOWN_RESTARTED = 1414
HOT_WITHOUT_STANDBYS = 1415
STANDBYS_WITHOUT_HOT = 1416
RULE_OFF_LADDER = 1417
RULE_UNREACHABLE = 1418
ACK_UNSAFE = 1419
START_RAISED = 1420
PASSWORD_IN_FILE = 1421
STANDBY_SAME_NODE = 1422
SPARES_FOR_STANDBYS = 1423
RECOVERY_UNUSED = 1424
LEASE_UNDER_HEARTBEAT = 1425
RTO_UNDER_LEASE = 1426
STEPS_TOO_LONG = 1427
CHECKPOINT_STALE = 1428
STANDBYS_WITHOUT_LEASE = 1429
LEASES_ON_ONE_NODE = 1430
FAULTS_IDLE = 1431

CODES: dict[int, Code] = {
    FILE_MISSING: Code(_ERROR, "the file does not exist"),
    FILE_IS_DIRECTORY: Code(_ERROR, "the path is a directory, not a file"),
    FILE_UNREADABLE: Code(_ERROR, "the system refused to read the file"),
    NOT_UTF8: Code(_ERROR, "the file is not UTF-8 text"),
    FILE_EMPTY: Code(_ERROR, "the file holds no document"),
    YAML_SYNTAX: Code(_ERROR, "the text is not valid YAML"),
    DUPLICATE_KEY: Code(_ERROR, "a key stands twice in one mapping"),
    ALIAS_CYCLE: Code(_ERROR, "a YAML alias contains itself"),
    NOT_A_MAPPING: Code(_ERROR, "the document is not a mapping"),
    TOO_LARGE: Code(_ERROR, "the document is too large or too deeply nested"),
    TAB_INDENT: Code(_ERROR, "a line is indented with a tab"),
    UNKNOWN_TAG: Code(_ERROR, "a YAML tag is not supported, or its value does not fit it"),
    KEY_NOT_TEXT: Code(_ERROR, "a key is a list or a mapping"),
    UNKNOWN_KEY: Code(_ERROR, "a key is not known here"),
    MISSING_KEY: Code(_ERROR, "a key without a default is missing"),
    WRONG_TYPE: Code(_ERROR, "a value has the wrong type"),
    BAD_DURATION: Code(_ERROR, "a value is no duration"),
    BAD_SIZE: Code(_ERROR, "a value is no size"),
    BAD_ID: Code(_ERROR, "a name holds characters a path cannot hold"),
    NOT_ONE_OF: Code(_ERROR, "a value is none of the words allowed"),
    OUT_OF_RANGE: Code(_ERROR, "a number is too small or too large"),
    BAD_IMPORT_STRING: Code(_ERROR, "an actor is not written module:Class"),
    BAD_ADDRESS: Code(_ERROR, "a value is no IP address"),
    BAD_PATH: Code(_ERROR, "a value is no path of the tree"),
    NOT_JSON: Code(_ERROR, "a config value cannot be sent as JSON"),
    BAD_VALUE: Code(_ERROR, "a value is not valid"),
    BAD_STATE: Code(_ERROR, "state is neither file nor a PostgreSQL address"),
    BAD_TIME_OF_DAY: Code(_ERROR, "a value is no time of day"),
    BAD_TIME_ZONE: Code(_ERROR, "a value is no time zone known here"),
    ACTOR_WITH_CHILDREN: Code(_ERROR, "a worker has keys only a supervisor may have"),
    TEMPLATE_WITHOUT_SIMPLE: Code(_ERROR, "template needs strategy simple_one_for_one"),
    CHILDREN_IN_SIMPLE: Code(_ERROR, "a simple_one_for_one supervisor lists children"),
    SIMPLE_WITHOUT_TEMPLATE: Code(_ERROR, "a simple_one_for_one supervisor has no template"),
    SIGNIFICANT_PERMANENT: Code(_ERROR, "a significant child may not be permanent"),
    SIGNIFICANT_NEVER: Code(_ERROR, "a significant child needs auto_shutdown"),
    DUPLICATE_ID: Code(_ERROR, "two children of one supervisor share an id"),
    UNKNOWN_POLICY: Code(_ERROR, "a policy is named that is not declared"),
    POLICY_CYCLE: Code(_ERROR, "policies extend each other in a circle"),
    INITIAL_OVER_MAX: Code(_ERROR, "more initial children than max_children"),
    SIMPLE_ONLY_KEY: Code(_ERROR, "initial and max_children need strategy simple_one_for_one"),
    UNKNOWN_PEER: Code(_ERROR, "anti_affinity names a path that is not in the tree"),
    BACKOFF_ORDER: Code(_ERROR, "backoff base is greater than its cap"),
    HANG_TOO_SOON: Code(_ERROR, "hang_after is not longer than missed x interval"),
    ROOT_KEY: Code(_ERROR, "the root has a key only a child may have"),
    SUPERVISOR_RECOVERY: Code(_ERROR, "a supervisor has recovery, which only a worker may have"),
    BUDGET_OVERLAP: Code(_ERROR, "two budgets count the same kind of exit"),
    LADDER_ORDER: Code(_ERROR, "a ladder is not some of hot, warm, cold in this order"),
    RULE_FIELD: Code(_ERROR, "a rule has a field its condition does not look at"),
    RULE_LACKS: Code(_ERROR, "a rule lacks what its condition looks at"),
    ACK_WITHOUT_STANDBY: Code(_ERROR, "a standby is to confirm events, and there is none"),
    LEASE_TIMING: Code(_ERROR, "a lease's times do not fit together"),
    RAMP_STEPS: Code(_ERROR, "ramp steps do not grow to 1, or have no time"),
    STEP_WORKER: Code(_ERROR, "a validation step names what cannot check"),
    STEP_FALLS_TOO: Code(_ERROR, "a validation step's worker goes down with the child it checks"),
    DUPLICATE_STEP: Code(_ERROR, "two validation steps of one child share a name"),
    STANDBY_TEMPORARY: Code(_ERROR, "a child that is never restarted has standbys"),
    MARKET_HOURS: Code(_ERROR, "market hours open and close at the same time"),
    FAULTS_IN_PRODUCTION: Code(_ERROR, "faults are enabled in production, and not by the system's name"),
    UNKNOWN_FAULT: Code(_ERROR, "a declared fault is not known"),
    FAULT_PARAMETER: Code(_ERROR, "a declared fault has a parameter or a time it cannot have"),
    FAULT_TARGET: Code(_ERROR, "a declared fault cannot hit what is at its path"),
    MODULE_NOT_FOUND: Code(_ERROR, "the module of an actor is not found"),
    ATTRIBUTE_MISSING: Code(_ERROR, "the module has no such class"),
    NOT_A_CLASS: Code(_ERROR, "the import string names something that is no class"),
    IMPORT_RAISED: Code(_ERROR, "importing the actor's module raised"),
    CONFIG_REFUSED: Code(_ERROR, "the actor refuses a config value"),
    CONFIG_UNKNOWN: Code(_ERROR, "the actor takes no such config key"),
    CONFIG_MISSING: Code(_ERROR, "the actor needs a config key that is missing"),
    CONFIG_UNCHECKED: Code(_INFO, "the config could not be checked without starting the actor"),
    STANDBY_NEEDS_APPLY: Code(_ERROR, "a standby that applies events needs an actor with apply"),
    COLD_ONLY: Code(_WARNING, "an actor applies events but has no snapshot or no restore: never warm"),
    NOTHING_JOURNALED: Code(_WARNING, "recovery of a class that is no Actor: it journals nothing and has no context"),
    STEP_METHOD: Code(_ERROR, "a validation step's worker has no such method"),
    SHUTDOWN_TOO_SHORT: Code(_WARNING, "a supervisor's shutdown is shorter than its children may take"),
    START_TOO_SHORT: Code(_WARNING, "a supervisor's start_timeout is shorter than its children may take"),
    INTENSITY_NEVER_TRIPS: Code(_WARNING, "backoff is so slow that intensity is never passed"),
    RESTARTS_FOR_EVER: Code(_WARNING, "a child that always fails would restart for ever"),
    ESCALATION_LOST: Code(_WARNING, "when the supervisor gives up, nobody acts"),
    SIGNIFICANT_IDLE: Code(_WARNING, "significant has no effect"),
    AUTO_SHUTDOWN_IDLE: Code(_WARNING, "auto_shutdown has no effect"),
    SUPERVISOR_KILLED: Code(_WARNING, "a supervisor is killed before it can end its children"),
    NO_SPARES: Code(_WARNING, "no spare hosts: every restart waits for a new process"),
    INTENSITY_ZERO: Code(_INFO, "intensity 0: the first failure makes the supervisor give up"),
    NO_CHILDREN: Code(_INFO, "a supervisor has no children"),
    PROCESS_COUNT: Code(_INFO, "how many processes the system starts"),
    POLICY_UNUSED: Code(_WARNING, "a policy is declared and never used"),
    AUTO_SHUTDOWN_RESTARTED: Code(_WARNING, "a supervisor that shuts itself down is restarted at once"),
    HOT_WITHOUT_STANDBYS: Code(_WARNING, "hot is asked for, and there are no standbys"),
    STANDBYS_WITHOUT_HOT: Code(_WARNING, "standbys are kept, and hot is not on the ladder"),
    RULE_OFF_LADDER: Code(_WARNING, "a rule takes a rung that is not on the ladder"),
    RULE_UNREACHABLE: Code(_WARNING, "a rule can never be reached"),
    ACK_UNSAFE: Code(_WARNING, "acknowledged events may be lost"),
    START_RAISED: Code(_INFO, "a start_timeout is shorter than a recovery may take, and is raised"),
    PASSWORD_IN_FILE: Code(_WARNING, "a password stands in the topology"),
    STANDBY_SAME_NODE: Code(_WARNING, "standbys may run on their primary's node"),
    SPARES_FOR_STANDBYS: Code(_INFO, "fewer spares than workers with standbys"),
    RECOVERY_UNUSED: Code(_WARNING, "a policy's recovery has no effect on a supervisor"),
    LEASE_UNDER_HEARTBEAT: Code(_WARNING, "a lease ends before missed beats are seen"),
    RTO_UNDER_LEASE: Code(_INFO, "rto is shorter than the wait for a lost node's lease"),
    STEPS_TOO_LONG: Code(_WARNING, "validation steps may take longer than their checklist has"),
    CHECKPOINT_STALE: Code(_WARNING, "checkpoints go stale before the next one is taken"),
    STANDBYS_WITHOUT_LEASE: Code(_WARNING, "standbys without a lease: two could act"),
    LEASES_ON_ONE_NODE: Code(_WARNING, "leases in a file do not hold on other nodes"),
    FAULTS_IDLE: Code(_WARNING, "faults are declared, and faults are not enabled"),
}
