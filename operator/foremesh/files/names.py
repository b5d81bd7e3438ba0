"""Which resource a name means where people write names: in ``links.csv`` and in the series of a history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from foremesh.files.errors import listed, nearest, shown
from foremesh.model.resource import Resource


class UnclearName(ValueError):
    """A name that means nothing, or more than one thing; carries ``cause`` and ``cure``."""

    def __init__(self, cause: str, cure: str) -> None:
        self.cause = cause
        self.cure = cure
        super().__init__(f"{cause}; {cure}")


class Names:
    """Looks resources up by id (``namespace/name``), or by bare name where only one has it.

    Args:
        resources: By id.
        what: What they are, for messages.
        others: Ids and names of what is none of them.
    """

    def __init__(self, resources: Mapping[str, Resource], what: str = "resource", others: Collection[str] = ()) -> None:
        self._resources = resources
        self._what = what
        self._others = others
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for id_, resource in sorted(resources.items()):
            self._by_name[resource.meta.name].append(id_)

    def find(self, name: str) -> str | None:
        """The id that a name means; None if nothing has it.

        Raises:
            UnclearName: If several have it.
        """
        if name in self._resources:
            return name
        found = self._by_name.get(name, [])
        if len(found) > 1:
            raise UnclearName(
                f"{shown(name)} is the name of {len(found)} {self._what}s: {listed(found)}",
                f"write namespace/name, for instance {found[0]}",
            )
        return found[0] if found else None

    def resolve(self, name: str) -> str:
        """The id that a name means.

        Raises:
            UnclearName: If nothing has it, or several have.
        """
        found = self.find(name)
        if found is None and name in self._others:
            raise UnclearName(f"{shown(name)} is no {self._what}", f"name a {self._what}: {listed(self._by_name)}")
        if found is None:
            meant = nearest(name, [*self._resources, *self._by_name])
            cure = f"did you mean {meant}?" if meant else f"declare it, or use one of {listed(sorted(self._by_name))}"
            if not self._resources:
                cure = f"declare the {self._what}s first"
            raise UnclearName(f"no manifest has a {self._what} {shown(name)}", cure)
        return found


def resolve_gateway_name(name: str, resources: Mapping[str, Resource]) -> str:
    """The id of the gateway that a name means.

    Args:
        name: An id (``namespace/name``), or a bare name if only one gateway has it.
        resources: By id; other resources than gateways may be among them and are not looked at.

    Raises:
        UnclearName: If no gateway has that name, or several have.
    """
    return gateway_names(resources).resolve(name)


def gateway_names(resources: Mapping[str, Resource]) -> Names:
    """The names of the gateways alone."""
    gateways = {id_: one for id_, one in resources.items() if one.is_gateway}
    others = {name for id_, one in resources.items() if id_ not in gateways for name in (id_, one.meta.name)}
    return Names(gateways, "gateway", others)
