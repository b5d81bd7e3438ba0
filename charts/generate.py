"""Generates charts/foremesh-crds/templates from crds/, which is the source.

Helm installs a chart's own crds/ folder once and never upgrades it, so the CRDs are a chart of templates. Run it with
``make charts``; a test compares the bytes.
"""

from __future__ import annotations

from pathlib import Path

CHARTS = Path(__file__).parent
SOURCE = CHARTS.parent / "crds"
TARGET = CHARTS / "foremesh-crds/templates"

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


def main() -> None:
    wanted = templates()
    TARGET.mkdir(parents=True, exist_ok=True)
    for stale in TARGET.glob("*.yaml"):
        if stale.name not in wanted:
            stale.unlink()
    for name, text in wanted.items():
        (TARGET / name).write_text(text)
        print(f"charts/foremesh-crds/templates/{name}")


if __name__ == "__main__":
    main()
