"""An OpenID provider of one's own on loopback, at which one person is logged in already.

It keeps to OpenID Connect Core 1.0, section 3.1 (the code flow): whoever asks with a wrong secret, an unknown code or
another redirect address gets no token.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flask import Flask, abort, redirect, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

CLIENT, SECRET = "camaudit", "known to the client and to the provider"
_LASTS_S = 600


@dataclass
class Provider:
    """What it knows.

    Attributes:
        claims: what it states about the person.
        asked: arguments of the requests to log in, by the code that was given out; each code is good for once.
        tokens: how many were given out.
    """

    claims: dict[str, str]
    issuer: str = ""
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: int = 0
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "drawn"}))

    @property
    def discovery(self) -> str:
        """Address of the document that clients begin with."""
        return f"{self.issuer}/.well-known/openid-configuration"

    def about(self) -> dict[str, Any]:
        """That document (OpenID Connect Discovery 1.0, section 3)."""
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {
            "issuer": self.issuer,
            **{name: f"{self.issuer}/{place}" for name, place in places.items()},
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def authorize(self) -> Response:
        """Send the browser back at once, with a code."""
        asked = request.args.to_dict()
        if asked.get("client_id") != CLIENT or asked.get("response_type") != "code" or "openid" not in asked["scope"]:
            abort(400)
        code = secrets.token_hex(16)
        self.asked[code] = asked
        return redirect(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    def token(self) -> dict[str, Any]:
        """Exchange a code for a signed statement of who logged in."""
        given = request.authorization
        if given is None or (given.username, given.password) != (CLIENT, SECRET):
            abort(401)
        asked = self.asked.pop(request.form["code"], None)
        if asked is None or asked["redirect_uri"] != request.form["redirect_uri"]:
            abort(400)
        self.tokens += 1
        now = int(time.time())
        said = {"iss": self.issuer, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + _LASTS_S, **self.claims}
        signed = jwt.encode({"alg": "RS256", "kid": "drawn"}, said | {"nonce": asked["nonce"]}, self.key)
        return {"id_token": signed, "access_token": "of no use", "token_type": "Bearer", "expires_in": _LASTS_S}


@contextmanager
def served(**claims: str) -> Iterator[Provider]:
    """A provider that states this about whoever comes, as `email="ana@example.org"`."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    provider, application = Provider(claims), Flask(__name__)
    application.get("/.well-known/openid-configuration")(provider.about)
    application.get("/authorize")(provider.authorize)
    application.post("/token")(provider.token)
    application.get("/keys", endpoint="keys")(lambda: {"keys": [provider.key.as_dict(private=False)]})
    server = make_server("127.0.0.1", 0, application, threaded=True)
    provider.issuer = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
