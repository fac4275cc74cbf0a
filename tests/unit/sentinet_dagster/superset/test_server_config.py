"""The server's settings, which run in Superset's environment, against the bundle that counts on them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from sentinet_dagster import superset
from sentinet_dagster.superset.bundle import read_bundle

PALETTE = {"#00ff88", "#ff0055", "#ffaa00", "#0088ff"}
RAISED = "#161d28"  # of the theme: what has nothing to say


def setting(name: str) -> Any:
    """The value of an assignment that is a literal."""
    source = (Path(superset.__file__).parent / "server" / "superset_config.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return ast.literal_eval(value)
    raise AssertionError(f"{name} is not set")


def test_heatmaps_have_our_colours() -> None:
    schemes = {each["id"]: each for each in setting("EXTRA_SEQUENTIAL_COLOR_SCHEMES")}
    used = {
        slug: chart.document["params"]["linear_color_scheme"]
        for slug, chart in read_bundle().charts.items()
        if chart.document["viz_type"] == "heatmap_v2"
    }
    assert set(used.values()) == schemes.keys()
    for scheme in schemes.values():
        assert set(scheme["colors"]) <= PALETTE | {RAISED}
        assert scheme["isDiverging"] == (scheme["colors"][len(scheme["colors"]) // 2] == RAISED)
