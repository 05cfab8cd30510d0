"""Makes tiny wheels and sources, and an index of them: a folder, so that no test needs a network."""

import base64
import hashlib
import io
import shutil
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

BACKEND = """
import pathlib
import zipfile

NAME, VERSION = {name!r}, {version!r}

def build_wheel(folder, config_settings=None, metadata_directory=None):
    wheel = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, wheel), "w") as archive:
        archive.write("module.py", f"{{NAME}}.py")
        info = f"{{NAME}}-{{VERSION}}.dist-info"
        archive.writestr(f"{{info}}/METADATA", f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n")
        archive.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{{info}}/RECORD", "")
    return wheel
"""


def make_wheel(folder, name, version, files=None, requires=(), tag="py3-none-any"):
    """Write a wheel whose module says its version, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}/__init__.py": f"__version__ = {version!r}\n"} if files is None else files
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {required}\n" for required in requires)
    files = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inner, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(inner, (2020, 1, 1, 0, 0, 0)), text)
    return path


def make_source(folder, name, version):
    """Write a source distribution that builds with nothing but itself, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": f"""
            [build-system]
            requires = []
            build-backend = "backend"
            backend-path = ["."]
            [project]
            name = "{name}"
            version = "{version}"
        """,
        "backend.py": BACKEND.format(name=name, version=version),
        "module.py": f"__version__ = {version!r}\n",
    }
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for inner, text in files.items():
            content = textwrap.dedent(text).encode()
            entry = tarfile.TarInfo(f"{name}-{version}/{inner}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def index_of(folder):
    """Return the environment in which a folder is the only index."""
    return {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(folder), "UV_OFFLINE": "1"}


def tiny_index(manta):
    """Make a folder with two versions of a tiny package all that there is in the world, and return it."""
    if not shutil.which("uv", path=str(Path(sys.executable).parent)):
        pytest.skip("needs uv beside the interpreter of the tests")
    folder = manta.root / "index"
    for version in ("1.0", "2.0"):
        make_wheel(folder, "tinypkg", version)
    manta.environment.update(index_of(folder))
    manta.environment |= {"MANTA_HOME": str(manta.root / "home"), "UV_CACHE_DIR": str(manta.root / "uv")}
    manta.give_to_user()
    return folder


def _digest(text):
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
