"""Images for tests: made of others, or of a shell of this machine; archives as `docker save` writes them."""

import functools
import hashlib
import io
import json
import platform
import re
import subprocess
import tarfile
from pathlib import Path

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


@functools.cache
def shell():
    """Return the files of `/bin/sh` with all that it loads: path in an image, content."""
    listed = subprocess.run(["ldd", "/bin/sh"], check=True, capture_output=True, text=True).stdout
    paths = ["/bin/sh", *re.findall(r"(/\S+) \(0x", listed)]
    return {path: Path(path).read_bytes() for path in paths}


def of_shell(path, name, files, **config):
    """Write an image of a shell and these programs, with such an execution configuration."""
    layer = packed({**shell(), **files}, mode=0o755)
    described = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }
    save(path, described, {"layer.tar": layer}, name)


def with_config(archive, path, name, **config):
    """Write the image of an archive with another name, and with such values in its execution configuration."""
    described, layers = opened(archive)
    described["config"] |= config
    save(path, described, layers, name)


def with_file(archive, path, name, text):
    """Write the image of an archive with one more layer, which holds one file, to ``path``; return its digest."""
    described, layers = opened(archive)
    layer = packed({name: text})
    described["rootfs"]["diff_ids"].append(digest(layer))
    described.pop("history", None)
    return save(path, described, {**layers, "more.tar": layer})


def opened(archive):
    """Return the configuration of an archive's image, and its layers by their names there."""
    with tarfile.open(archive) as image:
        saved = json.load(image.extractfile("manifest.json"))[0]
        layers = {layer: image.extractfile(layer).read() for layer in saved["Layers"]}
        return json.load(image.extractfile(saved["Config"])), layers


def save(path, described, layers, *names):
    """Write an image of a configuration and layers; return its digest."""
    config = json.dumps(described).encode()
    manifest = [{"Config": "config.json", "RepoTags": names, "Layers": list(layers)}]
    path.write_bytes(packed({**layers, "config.json": config, "manifest.json": json.dumps(manifest)}))
    return digest(config)


def packed(files, mode=0o644):
    """Return an archive of files that everybody may read."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def digest(content):
    """Return the digest of bytes as images write it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
