"""What every object has: group, kinds, names, labels, selectors."""

from __future__ import annotations

from typing import Any

from foremesh.model.manifest import ManifestError, Spec

GROUP = "foremesh.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Ref(Spec, frozen=True, kw_only=True):
    """A namespaced name; ``str`` gives ``namespace/name``, which is also the resource id used across the mesh."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        namespace, _, name = text.partition("/")
        return cls(namespace=namespace, name=name)


class Meta(Spec, frozen=True, kw_only=True):
    """The part of an object's metadata that decisions depend on."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = {}

    @property
    def id(self) -> str:
        """``str(self.ref)``, which plans ask for often."""
        return f"{self.namespace}/{self.name}"

    @property
    def ref(self) -> Ref:
        return Ref(namespace=self.namespace, name=self.name)

    @classmethod
    def from_manifest(cls, body: Any) -> Meta:
        meta = body.get("metadata") or {}
        if not meta.get("name"):
            raise ManifestError(str(body.get("kind", "object")), "metadata.name is missing")
        return cls(
            name=meta["name"],
            namespace=meta.get("namespace") or "",
            uid=meta.get("uid") or "",
            generation=meta.get("generation") or 0,
            labels=dict(meta.get("labels") or {}),
        )


class LabelSelector(Spec, frozen=True, kw_only=True):
    """Labels that must all be there; an empty selector matches everything."""

    match_labels: dict[str, str] = {}

    def matches(self, labels: dict[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items())
