"""How much of a link is in use: what the chart records is what is asked, and is right."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from foremesh.telemetry.queries import LINK_UTILISATION
from lab.requirements import require

RULES = Path(__file__).parents[2] / "charts/foremesh/files/alerts.yaml"
NAME = "foremesh:link_utilisation:ratio"


def test_the_chart_records_what_the_query_says() -> None:
    (rule,) = [r for group in yaml.safe_load(RULES.read_text()) for r in group["rules"] if r.get("record") == NAME]
    assert rule["expr"] == LINK_UTILISATION.format(window="60s")


@pytest.mark.prometheus
def test_utilisation_is_of_the_declared_capacity_and_unknown_without_one(tmp_path: Path) -> None:
    require("prometheus")
    rules, case = tmp_path / "rules.yaml", tmp_path / "case.yaml"
    rules.write_text(yaml.safe_dump({"groups": yaml.safe_load(RULES.read_text())}))

    def series(name: str, dst: str, values: str, **more: str) -> dict[str, Any]:
        labels = {"src": "lab/ams", "dst": dst, "link": "internet", **more}
        return {"series": f"{name}{{{','.join(f'{k}={v!r}' for k, v in labels.items())}}}", "values": values}

    labels = '{dst="lab/fra",link="internet",src="lab/ams"}'
    case.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(rules)],
                "evaluation_interval": "15s",
                "tests": [
                    {
                        "interval": "15s",
                        "input_series": [
                            # 1.5 MB in 15 s are 800 kbit/s, scraped under two jobs.
                            series("foremesh_link_transmit_bytes_total", "lab/fra", "0+1500000x20", job="a"),
                            series("foremesh_link_transmit_bytes_total", "lab/fra", "0+1500000x20", job="b"),
                            series("foremesh_link_transmit_bytes_total", "lab/lon", "0+1500000x20"),
                            series("foremesh_link_capacity_bps", "lab/fra", "4000000x20"),
                        ],
                        "promql_expr_test": [
                            {"expr": NAME, "eval_time": "3m", "exp_samples": [{"labels": NAME + labels, "value": 0.2}]}
                        ],
                    }
                ],
            }
        )
    )
    answer = subprocess.run(["promtool", "test", "rules", case], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr
