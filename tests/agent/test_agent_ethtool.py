"""Offloads of interfaces: what is read, and what errors say."""

from __future__ import annotations

import pytest

from foremesh.agent import ethtool
from foremesh.agent.host import HostError


def test_loopback_leaves_checksums() -> None:
    assert ethtool.leaves_checksums("lo")


def test_features_by_name() -> None:
    assert ethtool.is_on("lo", "tx-scatter-gather")
    assert not ethtool.is_on("lo", "rx-gro-list")
    assert not ethtool.is_on("lo", "rx-magic")


def test_an_interface_that_is_not_there() -> None:
    with pytest.raises(HostError, match=r"interface fm-none: offloads unknown .*No such device"):
        ethtool.leaves_checksums("fm-none")


def test_a_feature_that_the_kernel_does_not_know() -> None:
    with pytest.raises(HostError, match="interface lo: the kernel does not know rx-magic"):
        ethtool.turn_on("lo", "rx-magic")
