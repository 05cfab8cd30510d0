"""Images for tests, made of others."""

import hashlib
import io
import json
import tarfile


def with_file(archive, path, name, text):
    """Write the image of an archive with one more layer, which holds one file, to ``path``; return its digest."""
    with tarfile.open(archive) as image:
        saved = json.load(image.extractfile("manifest.json"))[0]
        blobs = {layer: image.extractfile(layer).read() for layer in saved["Layers"]}
        config = json.load(image.extractfile(saved["Config"]))
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add(tar, name, text.encode())
    config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer.getvalue()).hexdigest())
    config.pop("history", None)
    written = json.dumps(config).encode()
    blobs["more.tar"] = layer.getvalue()
    manifest = [{"Config": "config.json", "RepoTags": [], "Layers": list(blobs)}]
    with tarfile.open(path, "w") as tar:
        for member, content in {
            **blobs,
            "config.json": written,
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            add(tar, member, content)
    return "sha256:" + hashlib.sha256(written).hexdigest()


def add(tar, name, content):
    """Add a file that everybody may read."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))
