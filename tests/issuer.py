"""An OpenID provider: a real little HTTP server on 127.0.0.1 with real keys, which checks what it is asked.

What it signs is made here with the primitives of cryptography, not by the library that the product reads it with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Claims = dict[str, Any]

CLIENT, SECRET = "console", "a secret: of % the client"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True)
class SigningKey:
    """A key pair with its id, for RS256 or ES256."""

    kid: str
    private: PrivateKey

    @classmethod
    def rsa(cls, kid: str) -> SigningKey:
        return cls(kid, rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def ec(cls, kid: str) -> SigningKey:
        return cls(kid, ec.generate_private_key(ec.SECP256R1()))

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.private, rsa.RSAPrivateKey) else "ES256"

    def public(self) -> dict[str, Any]:
        """As JWK."""
        same = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            return same | {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        point = public.public_numbers()
        x, y = (base64url(each.to_bytes(32, "big")) for each in (point.x, point.y))
        return same | {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def signed(header: Claims, claims: Claims, sign: Callable[[bytes], bytes]) -> str:
    """A JWT with this header, signed by whatever is handed in."""
    parts = ".".join(base64url(json.dumps(each).encode()) for each in (header, claims))
    return f"{parts}.{base64url(sign(parts.encode()))}"


def by_key(key: SigningKey, claims: Claims, **header: Any) -> str:
    return signed({"alg": key.algorithm, "kid": key.kid, "typ": "JWT"} | header, claims, key.sign)


def unsigned(claims: Claims, algorithm: str = "none") -> str:
    return signed({"alg": algorithm}, claims, lambda data: b"")


def by_secret(secret: bytes, claims: Claims, **header: Any) -> str:
    return signed(
        {"alg": "HS256"} | header, claims, lambda data: hmac.new(secret, data, hashlib.sha256).digest()
    )


@dataclass
class _Granted:
    asked: dict[str, str]
    user: Claims


@dataclass
class FakeIssuer:
    """``user`` has the claims of the person who is at the browser. The rest is what a test makes wrong."""

    port: int = 0
    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.rsa("first")])
    user: Claims = field(
        default_factory=lambda: {"sub": "s-1", "preferred_username": "ann", "groups": ["staff"]}
    )
    told_later: tuple[str, ...] = ()
    """Claims that only the userinfo endpoint tells."""
    change: Callable[[Claims], Claims] = lambda claims: claims
    """Makes the claims of the ID token wrong."""
    make_token: Callable[[FakeIssuer, Claims], str] = lambda issuer, claims: by_key(issuer.keys[0], claims)
    document: Claims = field(default_factory=dict)
    """What its discovery says in another way."""
    answer_with: dict[str, str] = field(default_factory=dict)
    """What its answer by the browser says in another way."""
    denies: bool = False
    is_down: bool = False
    skew_s: float = 0.0
    seen: list[str] = field(default_factory=list)
    """Method and path of each request."""
    granted: dict[str, _Granted] = field(default_factory=dict)
    access: dict[str, Claims] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    """Every secret that it gave out."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self) -> dict[str, str]:
        """What the console is told of it."""
        return {
            "BULKSEND_OIDC_ISSUER": self.url,
            "BULKSEND_OIDC_CLIENT_ID": CLIENT,
            "BULKSEND_OIDC_CLIENT_SECRET": SECRET,
            "BULKSEND_OIDC_LABEL": "Shop Login",
            "BULKSEND_OIDC_ROLES": "staff=operator,bosses=admin,readers=viewer",
        }

    def discovery(self) -> Claims:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=shop",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "authorization_response_iss_parameter_supported": True,
        } | self.document

    def authorize(self, asked: dict[str, str]) -> str:
        """The person agrees. The address to which the browser is sent."""
        assert asked.pop("tenant") == "shop"
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        assert urlsplit(asked["redirect_uri"]).path == "/sign-in/oidc/callback", "what was registered"
        answer = {"state": asked["state"], "iss": self.url}
        if self.denies:
            answer |= {"error": "access_denied", "error_description": "<b>no</b>"}
        else:
            code = self._secret()
            self.granted[code] = _Granted(asked, dict(self.user))
            answer["code"] = code
        return f"{asked['redirect_uri']}?{urlencode(answer | self.answer_with)}"

    def redeem(self, fields: dict[str, str], authorization: str) -> tuple[int, Claims]:
        if not self._is_client(fields, authorization):
            return 401, {"error": "invalid_client"}
        granted = self.granted.pop(fields["code"], None)
        challenge = base64url(hashlib.sha256(fields["code_verifier"].encode()).digest())
        if (
            granted is None
            or fields["grant_type"] != "authorization_code"
            or fields["redirect_uri"] != granted.asked["redirect_uri"]
            or challenge != granted.asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        access = self._secret()
        self.access[access] = granted.user
        now = int(time.time() + self.skew_s)
        claims = {name: value for name, value in granted.user.items() if name not in self.told_later}
        claims |= {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300}
        claims |= {"nonce": granted.asked["nonce"]}
        token = self.make_token(self, self.change(claims))
        self.tokens.append(token)
        return 200, {"access_token": access, "token_type": "Bearer", "id_token": token}

    def userinfo(self, authorization: str) -> tuple[int, Claims]:
        found = self.access.get(authorization.removeprefix("Bearer "))
        return (401, {"error": "invalid_token"}) if found is None else (200, found)

    def _is_client(self, fields: dict[str, str], authorization: str) -> bool:
        if self.document.get("token_endpoint_auth_methods_supported") == ["client_secret_post"]:
            return (fields.get("client_id"), fields.get("client_secret")) == (CLIENT, SECRET)
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return (unquote_plus(pair[0]), unquote_plus(pair[2])) == (CLIENT, SECRET)

    def _secret(self) -> str:
        self.tokens.append(secrets.token_urlsafe(24))
        return self.tokens[-1]


@contextmanager
def running_issuer() -> Iterator[FakeIssuer]:
    """One on a free port."""
    issuer = FakeIssuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
            issuer.seen.append(f"GET {path}")
            if issuer.is_down:
                self._answer(503, {"error": "temporarily_unavailable"})
            elif path == "/.well-known/openid-configuration":
                self._answer(200, issuer.discovery())
            elif path == "/keys":
                self._answer(200, {"keys": [key.public() for key in issuer.keys]})
            elif path == "/elsewhere":
                self._lead_to(f"{issuer.url}/keys")
            elif path == "/userinfo":
                self._answer(*issuer.userinfo(self.headers.get("authorization", "")))
            elif path == "/authorize":
                self._lead_to(issuer.authorize(query))
            else:
                self._answer(404, {})

        def do_POST(self) -> None:
            issuer.seen.append(f"POST {self.path}")
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if issuer.is_down:
                self._answer(503, {})
                return
            self._answer(*issuer.redeem(dict(parse_qsl(body)), self.headers.get("authorization", "")))

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + issuer.skew_s)

        def _lead_to(self, address: str) -> None:
            self.send_response(302)
            self.send_header("location", address)
            self.send_header("content-length", "0")
            self.end_headers()

        def _answer(self, status: int, body: Claims) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield issuer
        server.shutdown()
        thread.join()
