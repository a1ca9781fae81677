"""Signing keys of tokens: a JWK set (RFC 7517) in one file that its owner alone may read.

The first key of each type signs, all of them verify. `rotate_keys` puts new keys in front; the old
ones verify until the tokens they signed have expired. Running processes notice that the file
changed and read it again.

Why our own: joserfc has keys, JWK sets and signatures, and is used for them. Rotation over several
processes of one data folder, with retired keys kept as long as their tokens, it leaves to us.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, KeySet, RSAKey

from ehr_fhir.errors import Fault
from ehr_gateway.file_lock import lock_file
from ehr_gateway.private_file import create_private_file

__all__ = [
    "SigningKeys",
    "load_form_secret",
    "load_health_link_secret",
    "open_signing_keys",
    "rotate_keys",
]

_FILE = "signing.jwks.json"
# Our own member of a retired JWK: when it stopped signing, in seconds since 1970. Its tokens have
# expired `keep_seconds` later, and the next rotation drops it.
_RETIRED_AT = "ehr_retired"
_Key = ECKey | RSAKey
_JwkList = list[dict[str, Any]]


class SigningKeys:
    """The keys that sign tokens, and all keys that verify them."""

    def __init__(self, keys: Sequence[_Key], path: Path | None = None) -> None:
        self._path = path
        self._stamp = _file_stamp(path)
        # Grows with each reload, so that caches of verified tokens know when to drop theirs.
        self.generation = 0
        self._set_keys(keys)

    def _set_keys(self, keys: Sequence[_Key]) -> None:
        self._all = tuple(keys)
        self.access_token_key = next(key for key in keys if isinstance(key, ECKey))
        self.verification_keys = KeySet([key for key in keys if isinstance(key, ECKey)])

    @property
    def id_token_key(self) -> RSAKey:
        """The key of ID tokens, generated at first use.

        RSA: providers have to offer RS256, the default of clients (OpenID Connect Core §15.1).
        """
        key = self._rsa()
        if key is None and self._path is not None:
            # The lock on the file keeps threads apart as well as processes.
            _update_file(self._path, lambda keys: keys if _has_rsa(keys) else [*keys, _new_rsa()])
            self.reload_if_changed()
            key = self._rsa()
        if key is None:
            raise Fault("There is no key for id tokens.")
        return key

    def public_jwks(self) -> dict[str, Any]:
        """Return the JWK set of `/oauth/jwks`, without private members."""
        keys = [key.as_dict(private=False) for key in self._all]
        return {"keys": [{k: v for k, v in key.items() if k != _RETIRED_AT} for key in keys]}

    def reload_if_changed(self) -> None:
        """Read the file again if another process changed it."""
        stamp = _file_stamp(self._path)
        if self._path is None or stamp == self._stamp:
            return
        keys = _read_file(self._path)
        self._set_keys(keys)
        self._stamp = stamp
        self.generation += 1

    def _rsa(self) -> RSAKey | None:
        return next((key for key in self._all if isinstance(key, RSAKey)), None)


def open_signing_keys(folder: Path) -> SigningKeys:
    """Read the keys of a data folder; generate them if there are none.

    Whoever may read the file can sign tokens.
    """
    path = folder / _FILE
    if not path.exists():
        create_private_file(path, _serialise([_new_ec()]))
    return SigningKeys(_read_file(path), path)


def rotate_keys(folder: Path, now_ms: int, keep_seconds: int, *, at_once: bool = False) -> str:
    """Put new signing keys in front; return the `kid` of the one for access tokens.

    The old ones verify for another `keep_seconds`, the lifetime of a token. With `at_once`, for
    keys that leaked, they are dropped, and every token they signed is refused.
    """
    now = now_ms // 1000
    new_key = _new_ec()

    def with_new_keys(keys: _JwkList) -> _JwkList:
        old = [] if at_once else [{_RETIRED_AT: now, **key} for key in keys]
        retired = [key for key in old if now - key[_RETIRED_AT] <= keep_seconds]
        return [new_key, *([_new_rsa()] if _has_rsa(keys) else []), *retired]

    open_signing_keys(folder)
    _update_file(folder / _FILE, with_new_keys)
    return str(new_key["kid"])


def load_form_secret(folder: Path) -> str:
    """Return the secret that seals log-in forms; generate it if there is none."""
    return _load_secret(folder / "forms.key")


def load_health_link_secret(folder: Path) -> str:
    """Return the secret from which keys of health links follow; generate it if there is none."""
    return _load_secret(folder / "health-links.key")


def _load_secret(path: Path) -> str:
    if not path.exists():
        create_private_file(path, os.urandom(32).hex().encode())
    return path.read_text("ascii")


def _read_file(path: Path) -> list[_Key]:
    try:
        stored = json.loads(path.read_bytes())["keys"]
        keys = [RSAKey.import_key(k) if k["kty"] == "RSA" else ECKey.import_key(k) for k in stored]
        if not any(isinstance(key, ECKey) for key in keys):
            raise ValueError
        return keys
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Fault(f"The key file {_FILE} cannot be read: {type(error).__name__}.") from error


def _update_file(path: Path, change: Callable[[_JwkList], _JwkList]) -> None:
    """Rewrite the file under a lock between processes, atomically."""
    with (path.parent / f"{_FILE}.lock").open("ab") as lock:
        lock_file(lock)
        keys = change(json.loads(path.read_bytes())["keys"])
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(_serialise(keys))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)


def _new_ec() -> dict[str, Any]:
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    return dict(key.as_dict(private=True))


def _new_rsa() -> dict[str, Any]:
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    return dict(key.as_dict(private=True))


def _has_rsa(keys: _JwkList) -> bool:
    return any(key["kty"] == "RSA" for key in keys)


def _serialise(keys: _JwkList) -> bytes:
    return json.dumps({"keys": keys}).encode()


def _file_stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    key = path.stat()
    return key.st_ino, key.st_mtime_ns, key.st_size
