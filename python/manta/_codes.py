"""Every error code that Python raises, with what all errors of that code have in common."""

MODULE_PATH = "MANTA-0101"
NO_ENTRY_POINT = "MANTA-0102"
SYNTAX_ERROR = "MANTA-0103"
BAD_MAXIMUM = "MANTA-0104"
UNKNOWN_METHOD = "MANTA-0105"
BAD_GRAPH = "MANTA-0106"
SWARM_FILE = "MANTA-0107"
VALUE_NOT_CARRIED = "MANTA-0108"
UNBOUND_NAME = "MANTA-0109"
BAD_ARGUMENT = "MANTA-0110"
NOT_OFFERED = "MANTA-0111"
NO_BINARY = "MANTA-0112"
UNREACHABLE = "MANTA-0601"

TITLES = {
    MODULE_PATH: "the module's path does not exist",
    NO_ENTRY_POINT: "the module has no entry point",
    SYNTAX_ERROR: "the module has a syntax error",
    BAD_MAXIMUM: "the task's `maximum` is out of range",
    UNKNOWN_METHOD: "the task's `method` is unknown",
    BAD_GRAPH: "the swarm's graph is not one",
    SWARM_FILE: "the swarm cannot be loaded",
    VALUE_NOT_CARRIED: "the value cannot be carried",
    UNBOUND_NAME: "a name in an `except` clause is never bound",
    BAD_ARGUMENT: "an argument cannot be used",
    NOT_OFFERED: "this release does not offer it yet",
    NO_BINARY: "the `manta` program cannot be found",
    UNREACHABLE: "the manager cannot be reached",
    "MANTA-0800": "the platform refused",
    "MANTA-0801": "this process runs no task",
    "MANTA-0802": "the module does not list the dataset",
    "MANTA-0803": "no such result was published",
    "MANTA-0804": "the swarm has no such global",
    "MANTA-0805": "data is damaged",
    "MANTA-0806": "a resource is exhausted",
    "MANTA-0807": "the node's agent no longer answers",
    "MANTA-0808": "the swarm knows no such task or node",
    "MANTA-0809": "an argument cannot be used",
    "MANTA-0810": "the node lacks the dataset's file",
}
