"""Where the tests get the handwritten digits from."""

import functools
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MEMBER = "sklearn/datasets/data/digits.csv.gz"


@functools.cache
def digits_file():
    """Return the path of scikit-learn's ``digits.csv.gz``.

    ``MANTA_DIGITS`` names it; otherwise it is taken out of scikit-learn's wheel, which is fetched once into the
    user's cache directory. scikit-learn itself is never installed.
    """
    named = os.environ.get("MANTA_DIGITS")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "manta" / "tests"
    target = cache / "digits.csv.gz"
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder]
            subprocess.run([sys.executable, "-m", "pip", "download", *options, "scikit-learn"], check=True)
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                part = target.with_suffix(f".{os.getpid()}")
                part.write_bytes(archive.read(MEMBER))
                part.replace(target)
    return target
