"""The CRDs: held together with the model, and tried on a real API server."""
