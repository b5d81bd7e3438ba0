"""When keys of links and circuits are made and when those before them go: make-before-break on a schedule.

1. The key has reached its age: the next one is made, in a file of its own, and the mesh is told of both.
2. Configs name the new key beside the old one: the host has an interface for each. Labels move over one by one, or
   circuits do.
3. The config in force names the old one no more: its interface is gone, its file goes, and the mesh is told.

Links go by the age of their own key. Keys of circuits are asked for by configs, of all gateways at a time: circuits
whose keys changed together go on sharing interfaces.

Each step looks at what is there, not at what was done before: an agent killed between two of them goes on from there.
"""

from __future__ import annotations

import logging

from foremesh.agent.keys import Keys
from foremesh.model.config import GatewayConfig

log = logging.getLogger(__name__)


class Rotation:
    """Replaces the keys of links and circuits.

    Args:
        keys: The agent's; they are changed.
        period_s: Seconds until a key of links is replaced; 0: never.
    """

    def __init__(self, keys: Keys, period_s: float) -> None:
        self._keys = keys
        self._period_s = period_s

    def step(self, applied: GatewayConfig | None, *, now_s: float) -> bool:
        """Make or drop keys if it is time to.

        Args:
            applied: The config that the host has in full.
            now_s: Unix time.

        Returns:
            Whether there are other keys now than before.

        Raises:
            KeyFileError: If a file cannot be written or removed; everything stays in use as it is.
        """
        if applied is None:
            return False
        links = self._links(applied, now_s)
        return self._circuits(applied, now_s) or links

    def _links(self, applied: GatewayConfig, now_s: float) -> bool:
        if not applied.hop_peers:
            return False  # no link would ever use the new key
        named = {peer.own_key for peer in applied.hop_peers}
        if "" in named:
            return False  # whoever wrote this config knows of one key only
        newest, *before = self._keys.hops
        if not before and self._period_s and now_s - newest.made_s >= self._period_s:
            made = self._keys.make_hop()
            log.info("hop key made key=%s slot=%d before=%s", made.key.public, made.slot, newest.key.public)
            return True
        gone = [one.key.public for one in before if one.key.public not in named and newest.key.public in named]
        for key in gone:
            self._keys.drop(key)
            log.info("hop key destroyed key=%s newest=%s", key, newest.key.public)
        return bool(gone)

    def _circuits(self, applied: GatewayConfig, now_s: float) -> bool:
        newest, *before = self._keys.circuits
        if applied.circuit_key != newest.key.public:
            return False  # whoever wrote this config does not know the newest yet, and may name any other
        named = {tunnel.own_key for end in applied.circuits for tunnel in end.tunnels}
        gone = [one.key.public for one in before if one.key.public not in named]
        for key in gone:
            self._keys.drop(key)
            log.info("circuit key destroyed key=%s newest=%s", key, newest.key.public)
        if applied.circuit_keys_since <= newest.made_s:
            return bool(gone)
        # Never of before it was asked for, whatever this host's clock says, or it would be asked for again.
        made = self._keys.make_circuit(max(now_s, applied.circuit_keys_since))
        log.info("circuit key made key=%s slot=%d before=%s", made.key.public, made.slot, newest.key.public)
        return True
