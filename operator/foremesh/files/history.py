"""A history: measured series in the long format, keyed by the links and gateways of the mesh."""
