"""Generates charts/foremesh-crds/templates and the schemas that files are checked against from crds/, the source.

Helm installs a chart's own crds/ folder once and never upgrades it, so the CRDs are a chart of templates. And a folder
of manifests is held to the same rules without an API server, so what an installed foremesh carries are the schemas of
their specs. Run it with ``make charts``; tests compare the bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

CHARTS = Path(__file__).parent
SOURCE = CHARTS.parent / "crds"
TARGET = CHARTS / "foremesh-crds/templates"
SCHEMAS = CHARTS.parent / "operator/foremesh/files/schemas.json"

METADATA = """\
  labels:
    app.kubernetes.io/name: foremesh-crds
    app.kubernetes.io/part-of: foremesh
    app.kubernetes.io/managed-by: {{ .Release.Service }}
    helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
  annotations:
    # Deleting a CRD deletes every object of its kind: that stays a decision of its own.
    helm.sh/resource-policy: keep
"""


class SourceError(ValueError):
    """A CRD that does not have the shape the generator relies on."""


def template(name: str, text: str) -> str:
    """Turn a CRD's text into a template that renders to it, plus labels and annotations.

    Args:
        name: The CRD's file name, for the header.
        text: The CRD, with ``metadata`` holding ``name`` alone.

    Raises:
        SourceError: If the metadata is not that.
    """
    # Braces in descriptions are text for people, not for helm.
    escaped = text.replace("{{", '{{ "{{" }}')
    before, mark, after = escaped.partition("\nmetadata:\n")
    first, newline, rest = after.partition("\n")
    if not mark or not first.startswith("  name: ") or not rest.startswith("spec:\n"):
        raise SourceError(f"{name}: metadata holds more or less than a name; the chart cannot be generated from it")
    header = (
        f"{{{{- /* Generated from crds/{name} by charts/generate.py: edit that file and run make charts. */ -}}}}\n"
    )
    return f"{header}{before}{mark}{first}{newline}{METADATA}{rest}"


def templates() -> dict[str, str]:
    """Every template of the chart, by file name."""
    return {source.name: template(source.name, source.read_text()) for source in sorted(SOURCE.glob("*.yaml"))}


def schemas() -> str:
    """The schema of each kind's spec, as JSON by kind."""
    found = {}
    for source in sorted(SOURCE.glob("*.yaml")):
        crd = yaml.safe_load(source.read_text())["spec"]
        (version,) = crd["versions"]
        found[crd["names"]["kind"]] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def main() -> None:
    wanted = templates()
    TARGET.mkdir(parents=True, exist_ok=True)
    for stale in TARGET.glob("*.yaml"):
        if stale.name not in wanted:
            stale.unlink()
    for name, text in wanted.items():
        (TARGET / name).write_text(text)
        print(f"charts/foremesh-crds/templates/{name}")
    SCHEMAS.write_text(schemas())
    print(SCHEMAS.relative_to(CHARTS.parent))


if __name__ == "__main__":
    main()
