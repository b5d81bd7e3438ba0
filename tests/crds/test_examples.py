"""manifests/examples: what people copy first is accepted by a real API server and read by the model."""

import pytest
import yaml

from crds.schemas import KINDS, ROOT
from lab.controlplane import ControlPlane

EXAMPLES = sorted(folder for folder in (ROOT / "manifests/examples").iterdir() if folder.is_dir())


@pytest.mark.apiserver
@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_examples_are_accepted_as_people_apply_them(served: ControlPlane, folder) -> None:
    try:
        served.kubectl("apply", "-f", folder)
    finally:
        served.kubectl("delete", "--wait=false", "--ignore-not-found", "-f", folder)


@pytest.mark.parametrize(
    "file", [file for folder in EXAMPLES for file in sorted(folder.glob("*.yaml"))], ids=lambda file: file.name
)
def test_examples_are_read_by_the_model(file) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        if manifest["kind"] in KINDS:
            assert KINDS[manifest["kind"]].manifest.from_manifest(manifest)
