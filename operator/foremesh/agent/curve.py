"""Keys of X25519, the public ones by the OpenSSL that Python's TLS has loaded anyway.

The ``cryptography`` package brings an OpenSSL of its own, seven megabytes in an agent of fifty for this one function;
it is used where Python hides its own.
"""

from __future__ import annotations

import ctypes
import secrets
import ssl
from functools import cache

X25519 = 1034
"""OpenSSL's number of the curve, NID_X25519 (openssl/obj_mac.h)."""
KEY_BYTES = 32


def new_secret() -> bytes:
    """A secret key: random bytes, clamped as RFC 7748 has it, so that WireGuard gives back the same ones."""
    octets = bytearray(secrets.token_bytes(KEY_BYTES))
    octets[0] &= 248
    octets[31] = octets[31] & 127 | 64
    return bytes(octets)


def public_key(secret: bytes) -> bytes:
    """The public key that belongs to 32 secret bytes."""
    library = _openssl()
    return by_cryptography(secret) if library is None else _by_openssl(library, secret)


def by_cryptography(secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


@cache
def _openssl() -> ctypes.CDLL | None:
    """The library behind the ``ssl`` module; None if its functions cannot be found."""
    try:
        library = ctypes.CDLL(ssl._ssl.__file__)  # type: ignore[attr-defined]
        library.EVP_PKEY_new_raw_private_key.restype = ctypes.c_void_p
        library.EVP_PKEY_new_raw_private_key.argtypes = (
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
        )
        library.EVP_PKEY_get_raw_public_key.argtypes = (
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_size_t),
        )
        library.EVP_PKEY_free.argtypes = (ctypes.c_void_p,)
        library.EVP_PKEY_free.restype = None
    except (AttributeError, OSError):  # built in, or another library
        return None
    return library


def _by_openssl(library: ctypes.CDLL, secret: bytes) -> bytes:
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a key of {len(secret)} bytes; X25519 has {KEY_BYTES}")
    key = library.EVP_PKEY_new_raw_private_key(X25519, None, secret, KEY_BYTES)
    public, length = ctypes.create_string_buffer(KEY_BYTES), ctypes.c_size_t(KEY_BYTES)
    try:
        if not key or library.EVP_PKEY_get_raw_public_key(key, public, ctypes.byref(length)) != 1:
            raise ValueError("OpenSSL makes no public key of it")
    finally:
        library.EVP_PKEY_free(key)
    return public.raw
