"""The dashboard and the alert rules of src/ship/watch against a server's metrics, and promtool over both.

The metrics port is METRICS_PORT of the environment; promtool is the path's or the one that `setup` has put into the cache.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from suite import check, finish

ROOT = Path(__file__).resolve().parents[2]
WATCH = ROOT / "src/ship/watch"
CACHE = Path(os.environ.get("MEMCRSD_TEST_CACHE", Path.home() / ".cache/memcrsd-tests"))
NAME = re.compile(r"\b(?:memcached|memcrsd)_[a-z0-9_]+")

# Exported only with the options they belong to.
SOME_TIMES = {"memcrsd_connections_idle_total"}
# Exported only with ext_path; memcached's names are those of its exporter.
FLASH = ("memcached_extstore_", "memcrsd_flash_")

page = urllib.request.urlopen(f"http://127.0.0.1:{os.environ['METRICS_PORT']}/metrics").read().decode()
exported = set(NAME.findall(page)) | SOME_TIMES
has_flash = "memcached_extstore_bytes_limit" in exported
dashboard = json.loads((WATCH / "grafana.json").read_text())
alerts = (WATCH / "alerts.yml").read_text()
panels = dashboard["panels"]
expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
expressions += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]


def panels_lie_side_by_side():
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def every_metric_is_exported():
    asked = set(NAME.findall("\n".join(expressions) + alerts)) - {"memcached_exporter"}
    unknown = {name for name in asked if name not in exported and (has_flash or not name.startswith(FLASH))}
    assert not unknown, unknown


def the_dashboard_shows_what_matters():
    matters = {
        "memcached_commands_total",
        "memcrsd_request_seconds_bucket",
        "memcrsd_memory_bytes",
        "memcached_items_evicted_total",
        "memcached_extstore_bytes_used",
        "memcrsd_ring_cpu_seconds_total",
        "memcached_current_connections",
    }
    missing = matters - set(NAME.findall("\n".join(expressions)))
    assert not missing, missing


def promtool(*arguments):
    program = shutil.which("promtool") or CACHE / "promtool"
    run = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def expressions_are_sound():
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as rules:
        rules.write("groups:\n  - name: panels\n    rules:\n")
        for number, expression in enumerate(expressions):
            expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
            rules.write(f"      - record: panel:{number}\n        expr: {json.dumps(expression)}\n")
        rules.flush()
        promtool("check", "rules", rules.name)


check("panels lie side by side")(panels_lie_side_by_side)
check("dashboard and alerts ask for metrics that exist")(every_metric_is_exported)
check("the dashboard shows what matters")(the_dashboard_shows_what_matters)
PROMTOOL = {
    "the expressions of the panels are sound": expressions_are_sound,
    "the alert rules are sound": lambda: promtool("check", "rules", str(WATCH / "alerts.yml")),
    "alerts are raised when they should be": lambda: promtool("test", "rules", str(WATCH / "alerts-test.yml")),
}
for name, function in PROMTOOL.items():
    if shutil.which("promtool") or (CACHE / "promtool").exists():
        check(name)(function)
    else:
        print(f"skip {name}: there is no promtool")
finish()
