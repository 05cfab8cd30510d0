"""A manager and a node say plainly why they do not start."""

import socket

from harness.cluster import Cluster

REFUSED, CONFLICT, UNREACHABLE, UNAUTHORIZED = 4, 8, 5, 6


def test_a_port_in_use_is_told_with_the_address(manta):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = manta("manager", "run", "--data-dir", manta.root / "m", "--listen", address)
    assert ended.code == CONFLICT, ended.text
    assert address in ended.err


def test_a_data_directory_of_a_living_manager_is_refused(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    ended = manta("manager", "run", "--data-dir", cluster.data_dir, "--listen", "127.0.0.1:0")
    assert ended.code == CONFLICT, ended.text
    assert str(cluster.data_dir) in ended.err and str(cluster.manager.pid) in ended.err
    assert cluster.api.nodes() == {}


def test_a_data_directory_of_a_killed_manager_is_taken_over(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    cluster.kill_manager()
    cluster.start_manager()


def test_an_address_that_others_can_reach_needs_a_name_to_call_it_by(manta):
    ended = manta("manager", "run", "--data-dir", manta.root / "m", "--listen", "0.0.0.0:0")
    assert ended.code == REFUSED, ended.text
    assert "0.0.0.0" in ended.err and "--public-name" in ended.err


def test_tokens_are_for_their_owner_alone(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    for name in ("token", "node-token"):
        assert (cluster.data_dir / name).stat().st_mode & 0o777 == 0o600, name
    assert cluster.data_dir.stat().st_mode & 0o777 == 0o700


def test_no_manager_has_its_own_exit_code(manta):
    token = manta.file("token", "0" * 64 + "\n")
    token.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        ended = manta("ls", environment={"MANTA_MANAGER": url, "MANTA_TOKEN_FILE": str(token)})
    assert ended.code == UNREACHABLE, ended.text
    assert url in ended.err


def test_a_wrong_token_has_its_own_exit_code(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    ended = manta("ls", environment={"MANTA_MANAGER": cluster.url, "MANTA_TOKEN": "0" * 64})
    assert ended.code == UNAUTHORIZED, ended.text
    token = manta.file("token", "0" * 64 + "\n")
    token.chmod(0o600)
    node = ["--manager", cluster.url, "--token-file", token, "--name", "node-1", "--data-dir", manta.root / "n"]
    ended = manta("node", "run", *node)
    assert ended.code == UNAUTHORIZED, ended.text


def test_a_node_token_is_no_user_token(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    token = (cluster.data_dir / "node-token").read_text().strip()
    ended = manta("ls", environment={"MANTA_MANAGER": cluster.url, "MANTA_TOKEN": token})
    assert ended.code == UNAUTHORIZED, ended.text


def test_a_token_file_that_others_can_read_is_refused(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    token = manta.file("token", (cluster.data_dir / "token").read_text())
    token.chmod(0o644)
    ended = manta("ls", environment={"MANTA_MANAGER": cluster.url, "MANTA_TOKEN_FILE": str(token)})
    assert ended.code in (REFUSED, UNAUTHORIZED), ended.text
    assert str(token) in ended.err
