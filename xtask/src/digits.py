"""Take the digits data out of scikit-learn's wheel, check it, and put it in place.

Usage: digits.py WHEEL-DIRECTORY DESTINATION SHA256. The rename is atomic, so a file at DESTINATION is a checked one.
"""

import hashlib
import os
import sys
import zipfile
from pathlib import Path

MEMBER = "sklearn/datasets/data/digits.csv.gz"


def main(wheels: Path, destination: Path, sha256: str) -> None:
    """Extract the one file from the one wheel in `wheels`."""
    (wheel,) = wheels.glob("scikit_learn-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(MEMBER)
    if hashlib.sha256(data).hexdigest() != sha256:
        sys.exit(f"{MEMBER} in {wheel.name} is not the file that is expected")
    partial = destination.with_name(f"{destination.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(destination)


main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
