"""A file of a dataset that is cut short under a task is the dataset's failure, and named."""

import mmap

SWARM = """
    class Cut(Swarm):
        def __init__(self):
            super().__init__()
            self.reads = Task(Module("modules/reads.py", datasets=["parts"]), retries=0)

        def execute(self):
            return self.reads()
"""

READS = '''
    """Maps a file, waits until it is shorter, and reads what is gone."""

    import mmap
    import os
    import time

    from manta.light.task import Task


    class Reads(Task):
        def run(self):
            with open("/data/parts/a.npy", "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self.logger.info("mapped %d bytes", len(mapped))
                while os.fstat(file.fileno()).st_size == len(mapped):
                    time.sleep(0.02)
            print(mapped[-1])


    def main():
        Reads().run()
'''


def test_a_mapped_file_that_is_cut_short_is_named_and_no_fault_of_the_module(manta):
    manta.file("modules/reads.py", READS)
    part = manta.file("parts/a.npy", "")
    part.write_bytes(bytes(2 * mmap.PAGESIZE))
    command = manta.start("run", manta.swarm(SWARM), "--nodes", 1, "--data", f"parts={part.parent}")
    command.wait_for("mapped ")
    with open(part, "r+b") as file:
        file.truncate(1)
    ended = command.end()
    assert ended.code == 1, ended.text
    assert 'DataCorruptionError: the dataset "parts" (a.npy) was changed while it was open' in ended.text, ended.text
