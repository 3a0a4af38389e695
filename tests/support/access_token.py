"""Access tokens that the tests' Dovecot takes: JSON Web Tokens (RFC 7519) under a key that both know."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Final

_KEY: Final = b"the tests' own, known to all: 32"
_HOUR_S: Final = 3600


def access_token(user: str, *, expires_in_s: int = _HOUR_S, more: str = "") -> str:
    """A token for `user`; `more` is something else that it says, to make it longer."""
    now = int(time.time())
    claims = {"email": user, "sub": user, "iat": now - _HOUR_S, "exp": now + expires_in_s, "more": more}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_letters(hmac.digest(_KEY, signed.encode(), 'sha256'))}"


def write_oauth2_config(folder: Path) -> Path:
    """Dovecot's side of it: a file for the arguments of its passdb `oauth2`, which then asks nobody else."""
    key = folder / "oauth2-keys" / "default" / "HS256" / "default"
    key.parent.mkdir(parents=True)
    key.write_text(base64.b64encode(_KEY).decode())
    config = folder / "oauth2.conf"
    config.write_text(
        "introspection_mode = local\n"
        f"local_validation_key_dict = fs:posix:prefix={folder}/oauth2-keys/\n"
        "username_attribute = email\n"
    )
    return config


def _part(content: dict[str, object]) -> str:
    return _letters(json.dumps(content).encode())


def _letters(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
