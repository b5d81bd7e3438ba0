"""The agent: pure parts anywhere, the whole of it in namespaces."""
