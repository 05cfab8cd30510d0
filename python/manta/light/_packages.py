"""The packages of a module's lock, put where imports find them."""

import os
import site
import sys


def offer_packages(directory: str) -> None:
    """Make a directory of packages importable: before those of the image, behind the standard library.

    Parameters
    ----------
    directory : str
        Where the node mounted them.
    """
    before = list(sys.path)
    is_site = [os.path.basename(entry) in ("site-packages", "dist-packages") for entry in before]
    place = is_site.index(True) if True in is_site else len(before)
    site.addsitedir(directory)
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = [*before[:place], *added, *before[place:]]
