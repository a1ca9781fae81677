"""Sums over several parties of which the one who adds them up sees nothing but the sum.

Each pair of parties agrees on a secret (X25519) and draws from it a mask that one adds and the
other subtracts, so that the masks cancel in the sum: the scheme of Bonawitz et al., CCS 2017,
without its recovery from parties that drop out; whoever drops out ends the sum. Each mask is drawn
for one round only. All parties but one together can work out the values of the one that is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ehr_fhir.errors import Conflict, Invalid

__all__ = ["MINIMUM_PARTIES", "SumParty", "add_masked"]

# With two, each learns the other's values from the sum.
MINIMUM_PARTIES = 3
# Values travel as whole multiples of 2 ** -34, modulo 2 ** 64.
_SCALE = float(2**34)
_LARGEST = float(2**28)
_WORD_BYTES = 8

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]


class SumParty:
    """One party: its name, its key pair, and the public keys of the others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = X25519PrivateKey.generate()
        self._secrets: dict[str, bytes] = {}
        self._rounds: set[str] = set()

    @property
    def public_key(self) -> bytes:
        """Return the 32 bytes that the other parties need of this one."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def meet(self, public_keys: Mapping[str, bytes]) -> None:
        """Agree on a secret with each other party, by name. Conflict where there are too few."""
        if len(public_keys) < MINIMUM_PARTIES or public_keys.get(self.name) != self.public_key:
            raise Conflict(
                f"A sum needs at least {MINIMUM_PARTIES} organisations, this one among them."
            )
        self._secrets = {
            name: self._key.exchange(X25519PublicKey.from_public_bytes(public))
            for name, public in public_keys.items()
            if name != self.name
        }

    def mask(self, round_name: str, values: Floats) -> Words:
        """Return values (any shape) as masked words, to be added to those of all other parties.

        Conflict for a second answer to one round: the difference of two would have no mask.
        """
        if round_name in self._rounds:
            raise Conflict(f"The round {round_name} was answered already.")
        if not np.all(np.abs(values) < _LARGEST):
            raise Invalid("A value of a sum is no number, or too large.")
        self._rounds.add(round_name)
        masked = np.rint(values * _SCALE).astype(np.int64).astype(np.uint64)
        for name, secret in self._secrets.items():
            mask = _draw_mask(secret, round_name, values.size).reshape(values.shape)
            masked = masked + mask if self.name < name else masked - mask
        return masked


def add_masked(answers: Sequence[Words]) -> Floats:
    """Return the sum of the values behind the answers of all parties to one round."""
    total = np.sum(np.stack(answers), axis=0, dtype=np.uint64)
    sums: Floats = np.asarray(total).astype(np.int64) / _SCALE
    return sums


def _draw_mask(secret: bytes, round_name: str, size: int) -> Words:
    key = HKDF(SHA256(), 32, salt=None, info=round_name.encode()).derive(secret)
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(size * _WORD_BYTES)), dtype=np.uint64)
