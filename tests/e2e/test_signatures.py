"""Publisher keys and signatures: made, carried with a module wherever it goes, judged, and never believed unseen."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from harness.cluster import Cluster

WORKER = 'def main():\n    print("one")\n'
SIGNATURE = "MANTA.signatures/0.json"


def module(manta, version="1.0.0", name="worker", folder="worker"):
    """Make a directory module of that name and version."""
    root = manta.work / folder
    root.mkdir(exist_ok=True)
    (root / "__init__.py").write_text(WORKER)
    lines = ["[tool.manta.module]", f"name = {json.dumps(name)}", f"version = {json.dumps(version)}"]
    (root / "pyproject.toml").write_text("\n".join(lines) + "\n")
    return root


def new_key(manta, name, *options):
    """Make a key and return its public text."""
    made = manta("key", "new", name, *options)
    assert made.code == 0 and made.out.startswith("manta-ed25519:"), made.text
    return made.out.strip()


@pytest.fixture
def signed(manta):
    """Make a key, and an archive that it signed."""
    new_key(manta, "ada")
    path = manta.work / "signed.zip"
    ended = manta("module", "package", module(manta), "-o", path, "--sign", "ada")
    assert ended.code == 0, ended.text
    return path


def standings(manta, what, *options, **more):
    """Return the standings of a module's signatures, with the exit code of saying so."""
    ended = manta("module", "verify", what, "--json", *options, **more)
    (document,) = ended.documents()
    return ended.code, [one["standing"] for one in document["signatures"]]


def changed(package, change):
    """Return an archive after a change of its entries."""
    with zipfile.ZipFile(package) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_key_is_made_listed_and_shown_and_its_secret_is_the_owners(manta):
    public = new_key(manta, "ada", "--expires", "365d")
    assert manta("key", "show", "ada").out.strip() == public
    (document,) = manta("key", "ls", "--json").documents()
    (key,) = document["keys"]
    assert (key["name"], key["public"]) == ("ada", public) and key["expires_ms"] > key["created_ms"]
    again = manta("key", "new", "ada")
    assert again.code == 8 and "never overwritten" in again.err, again.text
    assert manta("key", "new", "bob", "--expires", "2020-01-01").code == 2
    assert manta("key", "new", "../bob").code == 2
    unknown = manta("key", "show", "adda")
    assert unknown.code == 3 and "did you mean `ada`" in unknown.err, unknown.text


def test_a_key_that_others_can_read_signs_nothing(manta, signed):
    path = manta("key", "show", "ada", "--json").documents()[0]["key"]["path"]
    secret = json.loads(Path(path).read_text())["secret"]
    assert secret not in manta("key", "show", "ada").text
    Path(path).chmod(0o640)
    refused = manta("module", "sign", signed, "--key", "ada")
    assert refused.code == 4 and "may be read by others" in refused.err and "chmod 600" in refused.err, refused.text
    assert secret not in refused.text


def test_a_signature_travels_in_the_archive_and_is_judged(manta, signed):
    plain = manta.work / "plain.zip"
    assert manta("module", "package", module(manta), "-o", plain).code == 0
    bundles = {manta("module", "inspect", path, "--json").documents()[0]["bundle"] for path in (plain, signed)}
    assert len(bundles) == 1, "a signature is none of the bundle's files"
    assert standings(manta, signed) == (0, ["valid"])
    assert standings(manta, plain) == (4, [])
    assert manta("module", "sign", plain, "--key", "ada").code == 0
    assert standings(manta, plain) == (0, ["valid"])
    eve = new_key(manta, "eve")
    assert manta("module", "sign", plain, "--key", "eve").code == 0
    assert standings(manta, plain) == (0, ["valid", "valid"])
    assert "by the key" in manta("module", "inspect", plain).out
    elsewhere = {"MANTA_HOME": str(manta.work / "elsewhere")}
    assert standings(manta, plain, environment=elsewhere) == (4, ["unknown", "unknown"])
    assert standings(manta, plain, "--signer", f"eve={eve}", environment=elsewhere) == (0, ["unknown", "valid"])
    bad = manta("module", "verify", plain, "--signer", "eve=manta-ed25519:00", environment=elsewhere)
    assert bad.code == 2 and "64 lower-case hexadecimal digits" in bad.err, bad.text


def test_what_was_tampered_with_is_named_and_goes_nowhere(manta, signed):
    shared = manta.work / "shared"
    shared.mkdir()
    with zipfile.ZipFile(signed) as archive:
        text = archive.read(SIGNATURE).decode()
    other = manta.work / "other.zip"
    assert manta("module", "package", module(manta, "1.0.1", folder="other"), "-o", other).code == 0
    renamed = manta.work / "renamed.zip"
    assert manta("module", "package", module(manta, name="mover", folder="renamed"), "-o", renamed).code == 0
    cases = {
        "tampered with": (signed, text.replace('"version":"1.0.0"', '"version":"1.0.1"')),
        "not canonical": (signed, text.replace(":", ": ", 1)),
        "not for `worker` 1.0.1": (other, text),
        "not for `mover` 1.0.0": (renamed, text),
        "4096 are the limit": (signed, "x" * (64 << 10)),
        "cannot be read": (signed, "{}"),
    }
    for words, (package, signature) in cases.items():
        path = manta.work / "bad.zip"
        path.write_bytes(changed(package, lambda files, text=signature: files.update({SIGNATURE: text.encode()})))
        verified = manta("module", "verify", path)
        published = manta("module", "publish", path, "--registry", shared)
        assert verified.code == 4 and published.code == 4, published.text
        expected = "canonical" if words == "not canonical" else words
        assert expected in verified.err and expected in published.err, (words, verified.text, published.text)
    assert list(shared.iterdir()) == [], "nothing of them was published"
    evil = manta.work / "evil.zip"
    evil.write_bytes(changed(signed, lambda files: files.update({"__init__.py": b"evil()\n"})))
    refused = manta("module", "verify", evil)
    assert refused.code == 4 and "__init__.py" in refused.err, refused.text
    many = {f"MANTA.signatures/{number}.json": text.encode() for number in range(1000)}
    evil.write_bytes(changed(signed, lambda files: files.update(many)))
    refused = manta("module", "verify", evil)
    assert refused.code == 4 and "holds 1000 signatures; 64 are the limit" in refused.err, refused.text


def test_signatures_lie_beside_the_bundle_in_every_registry_and_go_where_it_goes(manta, signed):
    cluster = Cluster(manta)
    cluster.start_manager()
    env = cluster.as_user
    shared = manta.work / "shared"
    shared.mkdir()
    assert manta("module", "publish", signed, "--registry", shared).code == 0
    assert standings(manta, "worker@1.0.0", "--registry", shared) == (0, ["valid"])
    added = manta("module", "add", "worker@1.0.0", "--from", shared, environment=env)
    assert added.code == 0, added.text
    assert standings(manta, "worker@1.0.0", environment=env) == (0, ["valid"])
    new_key(manta, "bob", "--expires", "2099-01-01")
    later = manta("module", "sign", "worker@1.0.0", "--key", "bob", environment=env)
    assert later.code == 0 and later.out == "worker@1.0.0\n", later.text
    fetched = manta.work / "fetched.zip"
    assert manta("module", "download", "worker@1.0.0", "-o", fetched, environment=env).code == 0
    assert standings(manta, fetched) == (0, ["valid", "valid"])
    cluster.manager.stop()
    cluster.start_manager()
    assert standings(manta, "worker@1.0.0", environment=cluster.as_user) == (0, ["valid", "valid"])
    shown = manta("module", "show", "worker", environment=cluster.as_user)
    assert "SIGNED" in shown.out, shown.text
    folder = manta("module", "sign", module(manta), "--key", "bob", environment=cluster.as_user)
    assert folder.code == 2 and "--sign KEY" in folder.err, folder.text
