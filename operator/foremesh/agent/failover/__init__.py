"""Which label each circuit sends on, from second to second: hellos on every route, and a switch when one goes silent.

A process of its own beside the agent, as WireGuard's is, so that circuits fail over while the agent is dead, replaced
or busy. It uses the standard library alone and imports nothing of foremesh outside this folder; only ``client`` is the
agent's. It changes two nftables maps and nothing else.
"""
