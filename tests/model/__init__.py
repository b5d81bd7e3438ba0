"""The model: units, manifests, addresses, tokens."""
