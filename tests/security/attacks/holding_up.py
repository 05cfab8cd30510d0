"""Makes whoever writes to the dataset on the host wait, or learns when they do."""

import fcntl
import os


def attempts(data, host):
    def ask(path, what, value):
        return lambda: fcntl.fcntl(os.open(path, os.O_RDONLY), what, value)

    yield "a lease on its file", ask(data / "values.txt", fcntl.F_SETLEASE, fcntl.F_RDLCK)
    yield "word of what changes in it", ask(data, fcntl.F_NOTIFY, fcntl.DN_MODIFY | fcntl.DN_MULTISHOT)
