"""An issuer of identities (OpenID Connect) on this machine, which signs for real and lies where a test asks it to."""

import base64
import hashlib
import json
import secrets
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def encoded(part):
    """Write bytes, or JSON, as parts of a token are written."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """One client, ``manta``, and a person who is always there and always agrees.

    Parameters
    ----------
    port : int
        Where it listens on loopback.
    """

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.client, self.secret = "manta", None
        self.person = {"sub": "1", "preferred_username": "ada"}
        self.keys = [RSAKey.generate_key(2048, {"kid": "first", "use": "sig", "alg": "RS256"})]
        self.says_of_itself = {}
        self.claims = {}
        self.sign = self.sign_properly
        self.refusal = None
        self.device_is_done = False
        self.asked = []
        self._codes, self._devices = {}, set()
        self._lock = threading.Lock()

    def sign_properly(self, claims, key=None):
        """Sign with the newest key."""
        key = key or self.keys[-1]
        return jwt.encode({"alg": key.get("alg"), "kid": key.kid}, claims, key)

    def rotate(self):
        """Take a new key, of another kind, and forget the old one."""
        self.keys = [ECKey.generate_key("P-256", {"kid": "second", "use": "sig", "alg": "ES256"})]

    def public_key(self):
        """The newest key as anybody may have it, in PEM form."""
        return self.keys[-1].as_pem(private=False)

    def id_token(self, nonce):
        """What is said of the person to the client."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": self.client, "iat": now, "exp": now + 60, "nonce": nonce}
        claims = {**claims, **self.person, **self.claims}
        return self.sign({name: value for name, value in claims.items() if value is not None})

    def authorize(self, query):
        """Agree at once; the address to which the browser is sent back."""
        assert query["response_type"] == "code" and query["client_id"] == self.client, query
        assert query["code_challenge_method"] == "S256" and "openid" in query["scope"].split(), query
        code = secrets.token_urlsafe()
        with self._lock:
            self._codes[code] = query
        if self.refusal:
            return f"{query['redirect_uri']}?{urlencode({'error': self.refusal, 'state': query['state']})}"
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def begin_device(self, form):
        """Give a device its code."""
        assert form["client_id"] == self.client, form
        code = secrets.token_urlsafe()
        self._devices.add(code)
        return 200, {
            "device_code": code,
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{self.url}/device",
            "expires_in": 60,
            "interval": 1,
        }

    def token(self, form, authorization):
        """Exchange a code for an ID token, once."""
        if self.secret is not None:
            shown = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            if shown != f"{self.client}:{self.secret}":
                return 401, {"error": "invalid_client"}
        if form["grant_type"] == DEVICE_GRANT:
            if form["device_code"] not in self._devices:
                return 400, {"error": "invalid_grant"}
            if not self.device_is_done:
                return 400, {"error": "authorization_pending"}
            self._devices.remove(form["device_code"])
            return 200, self._answer(None)
        with self._lock:
            asked = self._codes.pop(form["code"], None)
        if asked is None:
            return 400, {"error": "invalid_grant", "error_description": "the code is used or unknown"}
        challenge = encoded(hashlib.sha256(form["code_verifier"].encode()).digest())
        if challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant", "error_description": "the proof does not fit"}
        return 200, self._answer(asked["nonce"])

    def _answer(self, nonce):
        return {"access_token": "unused", "token_type": "Bearer", "id_token": self.id_token(nonce)}

    def about(self):
        """What it says of itself."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "device_authorization_endpoint": f"{self.url}/device_authorization",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.says_of_itself,
        }


@contextmanager
def issuing(port=0):
    """Run an issuer on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            issuer.asked.append(url.path)
            if url.path == "/.well-known/openid-configuration":
                self._say(200, issuer.about())
            elif url.path == "/keys":
                self._say(200, {"keys": [key.as_dict(private=False) for key in issuer.keys]})
            elif url.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                self.send_response(302)
                self.send_header("location", issuer.authorize(query))
                self.send_header("content-length", "0")
                self.end_headers()
            else:
                self._say(404, {"error": "not_found"})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            issuer.asked.append(self.path)
            if self.path == "/token":
                self._say(*issuer.token(form, self.headers.get("authorization", "")))
            elif self.path == "/device_authorization":
                self._say(*issuer.begin_device(form))
            else:
                self._say(404, {"error": "not_found"})

        def _say(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    issuer = Issuer(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
