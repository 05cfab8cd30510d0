"""Every attack in `attacks/`, through the whole product, as root, as an ordinary user, and without namespaces."""

import os
import shutil
import socket
import uuid
from pathlib import Path

import pytest

from harness.containment import FIXTURES, FULL, USERS, lacking_kernel_feature

ATTACKS = Path(__file__).with_name("attacks")
NAMES = sorted(path.stem for path in ATTACKS.glob("*.py") if path.stem != "__init__")

SWARM = """
    class Attacked(Swarm):
        def __init__(self):
            super().__init__()
            self.set_global("host", {host!r})
            self.attack = Task(Module("attack", datasets=["mine"]), retries=0)

        def execute(self):
            return self.attack()
"""


@pytest.fixture
def listeners(test_root):
    """Sockets of the host that must hear nothing, by kind."""
    (test_root / "w" / "mine").mkdir(parents=True, exist_ok=True)
    abstract = uuid.uuid4().hex
    heard = {
        "tcp": socket.create_server(("127.0.0.1", 0)),
        "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "path": socket.socket(socket.AF_UNIX),
        "inside": socket.socket(socket.AF_UNIX),
        "abstract": socket.socket(socket.AF_UNIX),
    }
    heard["udp"].bind(("127.0.0.1", 0))
    heard["path"].bind(str(test_root / "socket"))
    heard["inside"].bind(str(test_root / "w" / "mine" / "socket"))
    heard["abstract"].bind("\0" + abstract)
    for name, listener in heard.items():
        listener.setblocking(False)
        if name != "udp":
            listener.listen()
    yield heard, abstract
    for listener in heard.values():
        listener.close()


def assert_heard_nothing(heard):
    """Check that nobody spoke to any of the sockets."""
    for name, listener in heard.items():
        with pytest.raises(BlockingIOError):
            listener.recv(1) if name == "udp" else listener.accept()
            pytest.fail(f"somebody spoke to the {name} socket")


CIRCUMSTANCES = [(user, "off") for user in USERS] + [(user, "on") for user in USERS if user == FULL]
"""Each tier with cold starts; the full one with warm ones too, for which a task waits."""


@pytest.mark.parametrize(("user", "warm"), CIRCUMSTANCES)
@pytest.mark.parametrize("name", NAMES)
def test_every_attempt_is_denied(request, test_root, name, user, warm):
    if missing := lacking_kernel_feature(user):
        pytest.skip(missing)
    manta = request.getfixturevalue(FIXTURES[user])
    heard, abstract = request.getfixturevalue("listeners")
    shutil.copytree(ATTACKS, manta.work / "attack", ignore=lambda _, names: [n for n in names if n != "__init__.py"])
    shutil.copy(ATTACKS / f"{name}.py", manta.work / "attack" / "attack.py")
    secret, other = manta.file("secret.txt", "secret"), manta.file("other.txt", "not yours")
    manta.file("mine/values.txt", "1\n2\n")
    (manta.work / "mine" / "link").symlink_to(other)
    os.chmod(test_root / "socket", 0o777)
    os.chmod(manta.work / "mine" / "socket", 0o777)
    host = {
        "secret": str(secret),
        "folder": str(manta.work),
        "home": str(manta.root / "h"),
        "other": str(other),
        "tcp": heard["tcp"].getsockname()[1],
        "udp": heard["udp"].getsockname()[1],
        "socket": str(test_root / "socket"),
        "abstract": abstract,
        "pids": {"the test": os.getpid(), "the test's parent": os.getppid()},
        "sentinel": abstract,
    }
    swarm = manta.swarm(SWARM.format(host=host))
    manta.give_to_user()
    data = ["--data", f"mine={manta.work / 'mine'}", "--data", f"other={other}"]
    environment = {"SECRET_OF_THE_USER": abstract, "MANTA_WARM": warm}
    ended = manta("run", swarm, "--nodes", 1, *data, environment=environment)
    assert "ALLOWED" not in ended.text, "\n".join(line for line in ended.text.splitlines() if "ALLOWED" in line)
    assert ended.code == 0 and "attack over" in ended.text, ended.text
    assert "denied" in ended.text
    assert_heard_nothing(heard)
    assert other.read_text() == "not yours"
    assert sorted(os.listdir(manta.work / "mine")) == ["link", "socket", "values.txt"]
