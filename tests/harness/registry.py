"""A registry of images on this machine, as far as pulling needs one."""

import hashlib
import json
import tarfile
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Registry:
    """Blobs by digest and manifests by tag of one repository, ``team/model``."""

    def __init__(self, port):
        self.port = port
        self.blobs = {}
        self.tags = {}
        self.password = None

    def name(self, reference):
        """What an image is called there."""
        return f"127.0.0.1:{self.port}/team/model{'@' if reference.startswith('sha256:') else ':'}{reference}"

    def put(self, content):
        """Take in a blob and return its digest."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def put_json(self, document):
        """Take in a document and return its digest."""
        return self.put(json.dumps(document).encode())

    def put_archive(self, path, tag):
        """Take in the image of an OCI archive, and return the digest of its manifest."""
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                if member.isfile() and member.name.startswith("blobs/sha256/"):
                    self.put(archive.extractfile(member).read())
            index = json.load(archive.extractfile("index.json"))
        self.tags[tag] = index["manifests"][0]["digest"]
        return self.tags[tag]

    def put_index(self, tag, manifest, architecture):
        """Let a tag name an index of one manifest, for an architecture."""
        entry = {"mediaType": MANIFEST, "digest": manifest, "size": len(self.blobs[manifest])}
        entry["platform"] = {"os": "linux", "architecture": architecture}
        self.tags[tag] = self.put_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})


@contextmanager
def serving():
    """Serve a registry on a port of the loopback interface, while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if registry.password and self.headers.get("Authorization") != registry.password:
                return self.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="registry"'})
            kind, _, reference = self.path.removeprefix("/v2/team/model/").partition("/")
            if self.path == "/v2/":
                return self.answer(200, b"{}", {})
            digest = registry.tags.get(reference, reference) if kind == "manifests" else reference
            content = registry.blobs.get(digest)
            if content is None:
                error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown", "detail": {}}]}
                return self.answer(404, json.dumps(error).encode(), {})
            form = json.loads(content).get("mediaType", MANIFEST) if kind == "manifests" else "application/octet-stream"
            return self.answer(200, content, {"Content-Type": form, "Docker-Content-Digest": digest})

        def answer(self, status, content, headers):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(content)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
