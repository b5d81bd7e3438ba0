"""The whole on real parts: what people declare with kubectl, and what packets do about it."""
