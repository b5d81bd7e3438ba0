"""Names of gateways as people write them."""

import pytest

from foremesh.files import UnclearName, resolve_gateway_name
from foremesh.model.resource import Resource


def _resource(id_: str, *, gateway: bool = True) -> Resource:
    namespace, name = id_.split("/")
    spec = (
        {"type": "Gateway", "gateway": {"role": "Core"}}
        if gateway
        else {"type": "VirtualMachine", "machine": {"address": "x"}}
    )
    return Resource.from_manifest(
        {"kind": "MeshResource", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    )


RESOURCES = {
    **{id_: _resource(id_) for id_ in ("mesh/ams-1", "mesh/fra-1", "other/fra-1")},
    "shop/ams-1": _resource("shop/ams-1", gateway=False),
    "shop/web": _resource("shop/web", gateway=False),
}


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        pytest.param("mesh/ams-1", "mesh/ams-1", id="id"),
        pytest.param("ams-1", "mesh/ams-1", id="bare-name-of-one-gateway-and-of-no-gateway"),
        pytest.param("other/fra-1", "other/fra-1", id="id-of-one-of-two"),
    ],
)
def test_a_name_means_a_gateway(name: str, id_: str) -> None:
    assert resolve_gateway_name(name, RESOURCES) == id_


@pytest.mark.parametrize(
    ("name", "cause", "cure"),
    [
        pytest.param("fra-1", "is the name of 2 gateways: mesh/fra-1, other/fra-1", "write namespace/name", id="two"),
        pytest.param("ams1", 'no manifest has a gateway "ams1"', "did you mean ams-1?", id="misspelled"),
        pytest.param("zzz", "no manifest has a gateway", "use one of ams-1, fra-1", id="unknown"),
        pytest.param("shop/web", '"shop/web" is no gateway', "name a gateway: ams-1, fra-1", id="a-workload-by-id"),
        pytest.param("web", '"web" is no gateway', "name a gateway: ams-1, fra-1", id="a-workload"),
        pytest.param("shop/fra-1", "no manifest has a gateway", "did you mean", id="in-another-namespace"),
    ],
)
def test_a_name_means_none(name: str, cause: str, cure: str) -> None:
    with pytest.raises(UnclearName) as caught:
        resolve_gateway_name(name, RESOURCES)
    assert cause in caught.value.cause
    assert cure in caught.value.cure


def test_without_any_gateway_the_cure_is_to_declare_some() -> None:
    with pytest.raises(UnclearName, match="declare the gateways first"):
        resolve_gateway_name("ams-1", {})
