"""A node's policy file: what it allows is run, what it refuses goes elsewhere or waits, and who asks is told why."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from harness.cluster import Cluster
from harness.waiting import wait_until

WORKER = 'def main():\n    print("it ran")\n'
SWARM = """
    class Uses(Swarm):
        def execute(self):
            return self.worker()

        def __init__(self):
            super().__init__()
            self.worker = Task(Module("worker", version="{wanted}"), method="{method}")
"""


@pytest.fixture
def cluster(manta):
    """Return a manager and nodes that are yet to start."""
    return Cluster(manta)


def publish(manta, version, *options, environment):
    root = manta.work / f"v{version}"
    root.mkdir()
    (root / "__init__.py").write_text(WORKER)
    fields = {"name": "worker", "version": version}
    lines = ["[tool.manta.module]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    (root / "pyproject.toml").write_text("\n".join(lines) + "\n")
    published = manta("module", "publish", root, *options, environment=environment)
    assert published.code == 0, published.text


def new_key(manta, name):
    made = manta("key", "new", name)
    assert made.code == 0, made.text
    return made.out.strip()


def write_policy(manta, text, name="policy.toml"):
    path = manta.work / name
    path.write_text(text)
    return path


def started(cluster, *names, **policies):
    """Start a manager and nodes, each with its policy, and wait until all joined."""
    cluster.start_manager()
    for name in names:
        cluster.start_node(name, options=("--policy", policies[name]) if name in policies else ())

    def look():
        joined = set(cluster.api.nodes())
        return None if set(names) <= joined else f"only {joined} joined"

    wait_until(60, look)
    return cluster.as_user


def deploy(manta, env, wanted, method="any"):
    ended = manta("deploy", manta.swarm(SWARM.format(wanted=wanted, method=method)), "--json", environment=env)
    assert ended.code == 0, ended.text
    return ended.documents()[0]["swarm"]["id"]


def versions(allowed):
    return f'# 1.0 forgets its scale\n[modules.worker]\nversion = "{allowed}"\n'


def closed_hours():
    now = datetime.now(timezone.utc)
    begin, end = ((now + timedelta(hours=hours)).strftime("%H:%M") for hours in (2, 3))
    return f'allow_hours = "{begin}-{end}"\ntime_zone = "UTC"'


def ran_on(cluster, swarm):
    """Return the nodes on which the module printed its line."""
    return {line["node"] for line in cluster.api.logs(swarm) if "it ran" in line["text"]}


def test_unsigned_code_runs_where_it_may_and_a_plan_says_where_not(cluster, manta):
    ada = new_key(manta, "ada")
    strict = write_policy(manta, f'# whose code\n[[allowed_signers]]\nname = "ada"\nkey = "{ada}"\n')
    env = started(cluster, "strict", "open", strict=strict)
    publish(manta, "1.0.0", environment=env)
    publish(manta, "1.1.0", "--sign", "ada", environment=env)
    swarm = manta.swarm(SWARM.format(wanted="1.0.0", method="all"))
    plan = manta("plan", swarm, environment=env)
    assert plan.code == 0, plan.text
    for words in ("strict", "policy.toml:2", "require_signature", "nobody signed it"):
        assert words in plan.out, plan.text
    unsigned = deploy(manta, env, "1.0.0", "all")
    wait_until(60, lambda: cluster.api.lacks_state(unsigned, "succeeded"))
    signed = deploy(manta, env, "1.1.0", "all")
    wait_until(60, lambda: cluster.api.lacks_state(signed, "succeeded"))
    assert ran_on(cluster, unsigned) == {"open"}
    assert ran_on(cluster, signed) == {"strict", "open"}


def test_code_that_no_node_allows_is_refused_and_runs_once_it_is_signed(cluster, manta):
    ada = new_key(manta, "ada")
    strict = write_policy(manta, f'[[allowed_signers]]\nname = "ada"\nkey = "{ada}"\n')
    env = started(cluster, "strict", strict=strict)
    publish(manta, "1.0.0", environment=env)
    swarm = manta.swarm(SWARM.format(wanted="1.0.0", method="any"))
    refused = manta("deploy", swarm, environment=env)
    assert refused.code == 4, refused.text
    for words in ("strict refuses module `worker` 1.0.0", "policy.toml:1", "nobody signed it"):
        assert words in refused.err, refused.text
    new_key(manta, "eve")
    assert manta("module", "sign", "worker@1.0.0", "--key", "eve", environment=env).code == 0
    refused = manta("deploy", swarm, environment=env)
    assert refused.code == 4 and "is not trusted" in refused.err, refused.text
    assert manta("module", "sign", "worker@1.0.0", "--key", "ada", environment=env).code == 0
    done = deploy(manta, env, "1.0.0")
    wait_until(60, lambda: cluster.api.lacks_state(done, "succeeded"))
    verified = manta("module", "verify", "worker@1.0.0", "--policy", strict, environment=env)
    assert verified.code == 0 and "valid" in verified.out, verified.text


def test_a_node_refuses_by_itself_what_its_manager_did_not_foresee_and_says_so(cluster, manta):
    ada = new_key(manta, "ada")
    over = write_policy(manta, f'[[allowed_signers]]\nname = "ada"\nkey = "{ada}"\nexpires = 2020-01-01T00:00:00Z\n')
    env = started(cluster, "strict", strict=over)
    publish(manta, "1.0.0", "--sign", "ada", environment=env)
    swarm = deploy(manta, env, "1.0.0")

    def is_refused():
        failures = [event for event in cluster.api.events(swarm) if event["event"]["kind"] == "attempt_failed"]
        return None if failures else "no attempt was refused yet"

    wait_until(60, is_refused)
    (failed, *_) = [event for event in cluster.api.events(swarm) if event["event"]["kind"] == "attempt_failed"]
    assert failed["event"]["failure"]["class"] == "policy", failed
    assert "the signature by ada is expired" in failed["event"]["failure"]["message"], failed
    why = manta("why", swarm, environment=env)
    for words in ("strict", "refused it", "policy.toml:1", "ada"):
        assert words in why.out, why.text
    cluster.start_node("other")
    wait_until(60, lambda: cluster.api.lacks_state(swarm, "succeeded"))
    assert ran_on(cluster, swarm) == {"other"}


def test_an_old_version_is_refused_with_its_line_until_the_site_allows_it(cluster, manta):
    path = write_policy(manta, versions(">=1.1"))
    env = started(cluster, "n", n=path)
    for version in ("1.0.0", "1.1.0"):
        publish(manta, version, environment=env)
    told = (
        "n refuses module `worker` 1.0.0 by its policy: of `worker` only a version that is >=1.1 runs here",
        "(policy.toml:3, `modules.worker.version`)",
    )
    old = manta.swarm(SWARM.format(wanted="1.0.0", method="any"))
    for command in ("plan", "deploy"):
        refused = manta(command, old, environment=env)
        assert refused.code == 4, refused.text
        assert all(words in refused.text for words in told), refused.text
    newest = deploy(manta, env, ">=1.0")
    wait_until(60, lambda: cluster.api.lacks_state(newest, "succeeded"))
    assert ran_on(cluster, newest) == {"n"}

    path.write_text(versions(">=1.0") + '[modules.other]\nversion = ">=9"\n')
    wait_until(20, lambda: None if manta("plan", old, environment=env).code == 0 else "the plan is refused still")
    path.write_text(f"{closed_hours()}\n{versions('>=1.0')}")
    wait_until(20, lambda: None if "allow_hours" in manta("plan", old, environment=env).text else "it is open still")
    waits = deploy(manta, env, "1.0.0")
    path.write_text(versions(">=1.1"))

    def is_told_why():
        why = manta("why", waits, environment=env)
        return None if all(words in why.out for words in (*told, "the site allows 1.0.0")) else why.text

    wait_until(20, is_told_why)
    path.write_text(versions("^1"))
    wait_until(60, lambda: cluster.api.lacks_state(waits, "succeeded"))


def test_a_policy_with_a_mistake_starts_no_node_and_names_the_line(cluster, manta):
    cluster.start_manager()
    cases = {
        "\nrequire_signatures = true\n": (":2", "`require_signatures`", "did you mean `require_signature`?"),
        '[[allowed_signers]]\nname = "ada"\nkey = "ssh-ed25519"\n': (":3", "no public key", "manta key show"),
        "images = [\n": (":", "policy.toml", "hint"),
        '[datasets.mnist]\nmodules = ["worker"]\n': (":1", "anybody may call code so", "require_signature"),
    }
    for text, words in cases.items():
        path = write_policy(manta, text)
        cluster.start_node("n", options=("--policy", path))
        ended = cluster.nodes["n"].end()
        assert ended.code == 2, ended.text
        assert all(word in ended.err for word in words), (words, ended.text)
    cluster.start_node("n", options=("--policy", manta.work / "nowhere.toml"))
    ended = cluster.nodes["n"].end()
    assert ended.code == 2 and "nowhere.toml" in ended.err, ended.text
