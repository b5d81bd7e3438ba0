"""A mesh as files describe it: manifests, ``links.csv``, a history.

This room reads and refuses. Whatever is wrong with a file comes out as one ``InputError`` that names the file, the line
and what to do; what it lets pass, an API server would accept too. It decides nothing about paths.
"""

from foremesh.files.bundle import Bundle, read_bundle
from foremesh.files.errors import InputError
from foremesh.files.links import LinkRow, read_links
from foremesh.files.names import UnclearName, resolve_gateway_name

__all__ = [
    "Bundle",
    "InputError",
    "LinkRow",
    "UnclearName",
    "read_bundle",
    "read_links",
    "resolve_gateway_name",
]
