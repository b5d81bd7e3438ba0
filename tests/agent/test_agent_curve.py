"""Public keys, by whichever library has them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.agent import curve

MODULES = "import sys, foremesh.agent.agent as _; print('cryptography' in sys.modules)"


@pytest.mark.parametrize("hidden", [False, True], ids=["pythons-openssl", "cryptography"])
def test_the_example_of_the_standard(hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7748, section 6.1: Alice."""
    if hidden:
        monkeypatch.setattr(curve, "_openssl", lambda: None)
    secret = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    assert curve.public_key(secret).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"


def test_new_secrets_differ_and_are_clamped() -> None:
    made = {curve.new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(len(s) == 32 and s[0] % 8 == 0 and 64 <= s[31] < 128 for s in made)


@given(st.binary(min_size=32, max_size=32))
def test_both_libraries_agree(secret: bytes) -> None:
    assert curve.public_key(secret) == curve.by_cryptography(secret)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_none(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        curve.public_key(bytes(length))


def test_the_agent_does_without_a_second_openssl() -> None:
    """It takes seven megabytes."""
    if curve._openssl() is None:
        pytest.skip("this Python hides its OpenSSL")
    said = subprocess.run(
        [sys.executable, "-c", MODULES], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert said == "False\n"
