"""The charts: generated from the CRDs, rendered by helm, applied to a real API server."""
