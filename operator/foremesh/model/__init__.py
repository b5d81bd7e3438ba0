"""What a mesh is: resources, gateways, links, intents, circuits, policies and their units.

This room holds values only: frozen structures that parse themselves from manifests and say what is wrong with
them. It does no I/O, reads no clock, and imports no other room.
"""
