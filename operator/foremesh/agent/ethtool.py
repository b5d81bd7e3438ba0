"""Offloads of network interfaces, as ``ethtool -k`` and ``-K`` read and set them.

Source: the kernel's linux/ethtool.h and linux/sockios.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

from foremesh.agent.host import HostError

SIOCETHTOOL = 0x8946
GTXCSUM, STXCSUM, SGRO = 0x16, 0x17, 0x2C
"""Requests: the state of transmit checksum offload, setting it, and setting generic receive offload."""
GSTRINGS, GSSET_INFO, GFEATURES, SFEATURES = 0x1B, 0x37, 0x3A, 0x3B
"""Requests: the names in a set, how many they are, the state of features by their place among the names, setting it."""
FEATURES = 4
"""The set of names that holds features."""
NAME_BYTES = 32
BLOCK_BITS = 32
"""Features that share words: two to set them, which are meant and which of them are to be on; four to tell their state,
of which the third has those that are on."""


def leaves_checksums(name: str) -> bool:
    """Whether checksums of what an interface sends are left to a device.

    Raises:
        HostError: If it cannot be read.
    """
    return bool(_value(name, GTXCSUM))


def leave_checksums(name: str, on: bool) -> None:
    """Leave them to a device, or have the kernel compute them; segmentation offload, which needs them, goes with it.

    Raises:
        HostError: If it cannot be set.
    """
    _value(name, STXCSUM, int(on))


def receive_offload(name: str) -> None:
    """Have an interface put packets of a flow together as they arrive.

    Raises:
        HostError: If it cannot be set.
    """
    _value(name, SGRO, 1)


def turn_on(name: str, feature: str) -> None:
    """Turn a feature on.

    Args:
        feature: What ``ethtool -k`` calls it.

    Raises:
        HostError: If the kernel does not know it, or it stays off.
    """
    names = _features(name)
    if feature not in names:
        raise HostError(f"interface {name}: the kernel does not know {feature}; it is left off")
    place, blocks = names.index(feature), -(-len(names) // BLOCK_BITS)
    words = [0] * (2 * blocks)
    words[2 * (place // BLOCK_BITS) : 2 * (place // BLOCK_BITS) + 2] = [1 << place % BLOCK_BITS] * 2
    _request(name, struct.pack(f"II{len(words)}I", SFEATURES, blocks, *words))
    if not is_on(name, feature):  # what a device cannot do is left out without a word
        raise HostError(f"interface {name}: {feature} cannot be turned on here; it stays off")


def is_on(name: str, feature: str) -> bool:
    """Whether a feature is on; one that the kernel does not know is off.

    Raises:
        HostError: If it cannot be read.
    """
    names = _features(name)
    if feature not in names:
        return False
    place, blocks = names.index(feature), -(-len(names) // BLOCK_BITS)
    said = _request(name, struct.pack("II", GFEATURES, blocks) + bytes(16 * blocks))
    on = struct.unpack_from("I", said, 8 + 16 * (place // BLOCK_BITS) + 8)[0]
    return bool(on >> place % BLOCK_BITS & 1)


def _features(name: str) -> list[str]:
    asked = _request(name, struct.pack("IIQI", GSSET_INFO, 0, 1 << FEATURES, 0))
    count = struct.unpack_from("I", asked, 16)[0]
    text = _request(name, struct.pack("III", GSTRINGS, FEATURES, count) + bytes(NAME_BYTES * count))[12:]
    places = range(0, NAME_BYTES * count, NAME_BYTES)
    return [text[at : at + NAME_BYTES].split(b"\0", 1)[0].decode() for at in places]


def _value(name: str, command: int, wanted: int = 0) -> int:
    return int(struct.unpack_from("II", _request(name, struct.pack("II", command, wanted)))[1])


def _request(name: str, content: bytes) -> bytes:
    """Carry out a request; what the kernel makes of its content."""
    memory = ctypes.create_string_buffer(content, len(content))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(memory))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCETHTOOL, request)
    except OSError as error:
        raise HostError(f"interface {name}: offloads unknown ({error}); they stay as they are") from error
    return memory.raw
