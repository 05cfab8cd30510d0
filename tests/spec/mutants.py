"""What is broken on purpose, to see that the suite sees it: for each family of claims, an edit of product or module.

Each edit stands in one file once: `where` is below `python/manta`, or below `tests/spec` for what a sandbox or the
manager holds (their code is Rust, so it is the module's own try that is broken). All tests that are marked with one of
its claims run, and each claim has to lose at least one of them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One thing that is broken."""

    family: str
    claims: tuple[int, ...]
    where: str
    before: str
    after: str
    needs_cluster: bool = True


def authoring(family, claims, where, before, after):
    """Return a mutant whose tests need no cluster."""
    return Mutant(family, claims, where, before, after, needs_cluster=False)


RUST_ALONE = (11, 53, 56, 75)
"""Claims that no Python has a part in, so that no edit here can break them."""

MUTANTS = (
    authoring("names", (1,), "apis/module.py", "__all__ = [", "del Module\n__all__ = ["),
    authoring("keywords", (2, 14), "apis/_module.py", "if datasets is None else", "if datasets is not None else"),
    authoring("positions", (3,), "apis/_module.py", "_versions.image(image)", "_versions.image(str(name))"),
    authoring("image names", (4,), "apis/_versions.py", '"sklearn", "pytorch",', '"sklearn",'),
    authoring("versions", (5,), "apis/_versions.py", "not _SEMVER.fullmatch(version):", "not version:"),
    Mutant("versions", (67,), "apis/_versions.py", "not _SEMVER.fullmatch(version):", "not version:"),
    authoring(
        "published modules",
        (6,),
        "apis/_module.py",
        "    if version is not None:\n        if found",
        "    if False:\n        if found",
    ),
    authoring("paths", (8,), "apis/_paths.py", "if beside is None else", "if beside else"),
    Mutant("any file name", (7,), "light/_loader.py", 're.sub(r"\\W", "_", name, flags=re.ASCII)', "__import__(name)"),
    Mutant(
        "entry points",
        (9, 10, 30, 31),
        "light/_boot.py",
        'return found if "call" in entry else',
        'return int if "call" in entry else',
    ),
    authoring(
        "several classes",
        (12, 32),
        "_check_entry.py",
        "    if wanted is not None:\n        return",
        "    if False:\n        return",
    ),
    authoring(
        "resources of a module", (13,), "apis/_arguments.py", 'checked[f"{key}_bytes"] =', 'checked[f"{key}_mb"] ='
    ),
    authoring(
        "arguments of a task",
        (15, 16, 18),
        "apis/_task.py",
        "        self.maximum = _maximum(maximum)",
        "        self.maximum = -1",
    ),
    Mutant("shares", (17, 18, 69), "_trace_document.py", '{"kind": "share", "share": value}', '{"kind": "unlimited"}'),
    authoring("swarms", (19,), "apis/_swarm.py", "        swarm._max_iteration = None\n", ""),
    Mutant("swarms without a constructor", (20,), "apis/_swarm.py", "        swarm._max_iteration = None\n", ""),
    authoring(
        "swarms without a flow",
        (20, 21, 22),
        "apis/_swarm.py",
        "return [task() for task in tasks]",
        "return [task() for task in tasks[:1]]",
    ),
    authoring(
        "flow", (23, 24, 25, 71), "apis/_graph.py", "Vertex(task, _vertices(task, previous))", "Vertex(task, ())"
    ),
    Mutant("four stages", (26,), "apis/_graph.py", "Vertex(task, _vertices(task, previous))", "Vertex(task, ())"),
    authoring(
        "libraries",
        (27, 28),
        "apis/_task.py",
        "        self.module = module\n",
        "        self.module = __import__('copy').copy(module)\n",
    ),
    Mutant(
        "iterations",
        (29,),
        "light/world.py",
        '_attempt.current("world").request("schedule_next_iter", node_ids=nodes,',
        "dict(node_ids=nodes,",
    ),
    Mutant("logger", (33, 34), "light/_logger.py", "logger.setLevel(logging.DEBUG)", "logger.setLevel(logging.ERROR)"),
    Mutant(
        "datasets",
        (35,),
        "light/_dataset_arrays.py",
        "return self.shapes[self._names[0]]",
        "return self.shapes[self._names[-1]]",
    ),
    Mutant("resources", (36, 37), "light/local.py", 'int(told.get("cpu_memory", 0))', 'int(told.get("cpu_memori", 0))'),
    Mutant(
        "state",
        (38,),
        "light/local.py",
        '"state_set", name, value,',
        '"state_set", name + "2", value,',
    ),
    Mutant("performance", (39,), "light/local.py", '"load": 0.0, **usage}', '"load": 0.0}'),
    Mutant(
        "network",
        (40,),
        "light/local.py",
        'request("network_quality").fields["quality"])',
        'request("network_quality").fields["quality"]) - 1',
    ),
    Mutant(
        "globals read",
        (41, 43, 48),
        "light/globals.py",
        "        except GlobalNotFound:\n            return default",
        "        except GlobalNotFound:\n            return None",
    ),
    Mutant(
        "globals written",
        (42,),
        "light/globals.py",
        '"global_set", name, value,',
        '"global_set", name + "2", value,',
    ),
    Mutant(
        "results",
        (44, 45, 46),
        "light/results.py",
        '"result_add", name, value,',
        '"result_add", name + "2", value,',
    ),
    Mutant("expected failures", (47,), "light/task.py", '"DataCorruptionError", "Node"', '"Node"'),
    Mutant(
        "regions",
        (49,),
        "light/results.py",
        "groups.setdefault(key.labels.get(label), {})",
        'groups.setdefault("all", {})',
    ),
    Mutant(
        "assertions",
        (50,),
        "light/_boot.py",
        "        return failure_of(error, root)\n    return None",
        "        return None\n    return None",
    ),
    authoring(
        "modules without a platform",
        (57,),
        "testing.py",
        "    if check and outcome.error is not None:",
        "    if False and outcome.error is not None:",
    ),
    Mutant(
        "packing",
        (52, 54, 55),
        "_trace_document.py",
        '"name": module.name,',
        '"name": f"{module.name}{os.urandom(4).hex()}",',
    ),
    Mutant(
        "results collected",
        (58,),
        "apis/results.py",
        "return tuple(sorted({entry.node for entry in self._entries}))",
        "return ()",
    ),
    Mutant(
        "compatibility",
        (68,),
        "_trace_document.py",
        'requires_manta=module.requires_manta or told.get("requires_manta")',
        "requires_manta=None",
    ),
    Mutant("interface", (74,), "_interface.py", '("results", "add"): "publishes"', '("results", "add"): "selects"'),
    Mutant(
        "code is read-only",
        (60,),
        "tests:modules/walls.py",
        'Path(__file__).with_name("new.py")',
        'Path("/tmp/new.py")',
    ),
    Mutant(
        "other datasets",
        (61,),
        "tests:modules/walls.py",
        'self.local.get_dataset("training_data")',
        'self.local.get_dataset("mnist")',
    ),
    Mutant(
        "no network",
        (62,),
        "tests:modules/walls.py",
        'socket.create_connection(("127.0.0.1", self.world.globals["port"]), 2)',
        "socket.socketpair()",
    ),
    Mutant(
        "others' code and results", (64, 65), "tests:modules/walls.py", 'self.world.results.select("beside")', "None"
    ),
    Mutant("temporary storage", (51,), "tests:modules/walls.py", "for _ in range(64):", "for _ in range(2):"),
    Mutant("processes", (59,), "tests:modules/walls.py", 'os.listdir("/proc")))', 'os.listdir("/proc")) + 99)'),
    Mutant("memory", (63,), "tests:modules/hungry.py", "        while True:\n", "        while len(taken) < 3:\n"),
    Mutant("settings", (66, 72), "tests:modules/walls.py", 'os.environ.get("TZ")', 'os.environ.get("TZ2")'),
    Mutant("seeds", (73,), "light/_boot.py", "    random.seed(seed)\n    if", "    random.seed(0)\n    if"),
    Mutant(
        "shared modules",
        (70,),
        "_trace_document.py",
        '"version": module.version,\n        "image": module.image,\n',
        '"version": None,\n        "image": module.image,\n',
    ),
)
