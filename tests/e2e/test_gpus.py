"""GPUs as tasks and operators meet them, with device nodes that any machine can make."""

import os
import stat

import pytest

from harness.cluster import Cluster

ZERO = os.makedev(1, 5)
REFUSED = 4

LOOKS = '''
"""Logs what can be seen of GPUs from inside."""

import os

from manta.light.task import Task

OTHERS = ("core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero")


class Looks(Task):
    def run(self):
        has = self.local.get_resources()
        self.logger.info("has %s %d of %d bytes", has.gpu_available, has.gpu_count, has.gpu_memory)
        nodes = sorted(set(os.listdir("/dev")) - set(OTHERS))
        self.logger.info("nodes %s", ",".join(nodes))
        for node in nodes:
            with open("/dev/" + node, "r+b", buffering=0) as device:
                assert device.read(1) == bytes(1) and device.write(b"x") == 1
        if nodes:
            self.logger.info("libraries %s", ",".join(sorted(os.listdir("/gpu/lib"))))
            self.logger.info("searched %s, told %s", os.environ["LD_LIBRARY_PATH"], os.environ["FAKE_GPU"])


def main():
    Looks().run()
'''

SWARM = """
    class One(Swarm):
        def __init__(self):
            super().__init__()
            self.looks = Task(Module("modules/looks.py", resources={resources!r}))

        def execute(self):
            return self.looks()
"""

SPECIFICATION = """
cdiVersion: 0.6.0
kind: example.com/gpu
containerEdits:
  env: [FAKE_GPU=yes]
  deviceNodes: [{{path: /dev/gpuctl, hostPath: {root}/gpuctl}}]
  mounts: [{{hostPath: {root}/libfakegpu.so.1.2, containerPath: /usr/lib/libfakegpu.so.1.2}}]
devices:
- name: '0'
  annotations: {{manta/memory-bytes: '17179869184'}}
  containerEdits: {{deviceNodes: [{{path: /dev/gpu0, hostPath: {root}/gpu0}}]}}
- name: '1'
  annotations: {{manta/memory-bytes: '8589934592'}}
  containerEdits: {{deviceNodes: [{{path: /dev/gpu1, hostPath: {root}/gpu1}}]}}
"""


@pytest.fixture
def gpus(manta):
    """The path of a specification of two GPUs, whose nodes are made here."""
    for name in ("gpuctl", "gpu0", "gpu1"):
        path = manta.root / name
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, ZERO)
        except PermissionError:
            pytest.skip("only root can make device nodes")
        path.chmod(0o666)
    library = manta.file("libfakegpu.so.1.2", "")
    library.rename(manta.root / library.name)
    (manta.root / "libfakegpu.so.1").symlink_to(library.name)
    specification = manta.root / "gpus.yaml"
    specification.write_text(SPECIFICATION.format(root=manta.root))
    return specification


@pytest.fixture
def cluster(manta, gpus):
    """A cluster of one node with two GPUs."""
    cluster = Cluster(manta)
    cluster.start_manager()
    cluster.start_node("node-1", options=("--gpus", gpus, "--slots", 2))
    cluster.wait_for_nodes("node-1")
    return cluster


def looks(manta, cluster, resources):
    """Run the task that looks around, and return what it logged."""
    manta.file("modules/looks.py", LOOKS)
    swarm = cluster.deploy(manta.swarm(SWARM.format(resources=resources)))
    cluster.wait_for(swarm, "succeeded")
    return "\n".join(line["text"] for line in cluster.api.logs(swarm))


def test_a_task_sees_the_gpu_that_it_has_and_nothing_of_the_other(manta, cluster):
    said = looks(manta, cluster, {"gpu": 1})
    assert "has True 1 of 17179869184 bytes" in said or "has True 1 of 8589934592 bytes" in said, said
    assert "nodes gpu0,gpuctl" in said or "nodes gpu1,gpuctl" in said, said
    assert "libraries libfakegpu.so.1,libfakegpu.so.1.2" in said, said
    assert "searched /gpu/lib, told yes" in said, said


def test_a_task_that_asks_for_none_sees_none(manta, cluster):
    said = looks(manta, cluster, {})
    assert "has False 0 of 0 bytes" in said and "nodes \n" in said + "\n", said


def test_a_part_of_a_gpus_memory_is_what_the_task_is_told(manta, cluster):
    said = looks(manta, cluster, {"gpu": 2, "gpu_memory": "2GiB"})
    assert "has True 2 of 2147483648 bytes" in said, said
    assert "nodes gpu0,gpu1,gpuctl" in said, said


def test_more_than_any_node_has_is_refused_with_what_there_is(manta, cluster):
    manta.file("modules/looks.py", LOOKS)
    for resources, why in [
        ({"gpu": 3}, "node-1 has 2 GPUs of up to 16384 MiB, 3 GPUs are needed"),
        ({"gpu": 2, "gpu_memory": "9GiB"}, "2 GPUs of up to 9216 MiB are needed"),
    ]:
        ended = manta("deploy", manta.swarm(SWARM.format(resources=resources)), environment=cluster.as_user)
        assert ended.code == REFUSED and why in ended.err, ended.text


def test_the_operator_sees_how_many_there_are(manta, cluster):
    ended = manta("node", "ls", "--json", environment=cluster.as_user)
    (node,) = ended.documents()[0]["nodes"]
    assert [gpu["name"] for gpu in node["gpus"]] == ["example.com/gpu=0", "example.com/gpu=1"], node


def test_a_specification_that_cannot_be_used_is_refused_before_anything_starts(manta):
    cluster = Cluster(manta)
    cluster.start_manager()
    broken = manta.file("broken.yaml", "kind: [")
    cluster.start_node("node-1", options=("--gpus", broken))
    ended = cluster.nodes.pop("node-1").end(20)
    assert ended.code == REFUSED and "broken.yaml` cannot be used" in ended.err and "--gpus" in ended.err, ended.text


COUNTS = '''
"""Counts the GPUs that CUDA's driver finds, and takes some memory of one."""

import ctypes

from manta.light.task import Task


class Counts(Task):
    def run(self):
        cuda = ctypes.CDLL("libcuda.so.1")
        count, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
        assert cuda.cuInit(0) == 0
        assert cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
        assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
        assert cuda.cuCtxSetCurrent(context) == 0
        assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(1 << 20)) == 0
        self.logger.info("CUDA finds %d, told of %d", count.value, self.local.get_resources().gpu_count)


def main():
    Counts().run()
'''


@pytest.mark.skipif(not os.path.exists("/dev/nvidiactl"), reason="this machine has no NVIDIA driver")
def test_cuda_runs_in_a_task_on_the_gpu_that_it_has(manta):
    manta.file("modules/looks.py", COUNTS)
    cluster = Cluster(manta).start("node-1")
    swarm = cluster.deploy(manta.swarm(SWARM.format(resources={"gpu": 1})))
    cluster.wait_for(swarm, "succeeded")
    assert any("CUDA finds 1, told of 1" in line["text"] for line in cluster.api.logs(swarm))
