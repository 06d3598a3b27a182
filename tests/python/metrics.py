"""Reads metrics with the parser of Prometheus's own client library, and prints them as JSON.

    python3 metrics.py < metrics.txt

{"FAMILY": {"type": ..., "help": ..., "samples": [[name, labels, value], ...]}, ...}
"""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    if family.name in families:
        raise SystemExit(f"{family.name} is there twice")
    families[family.name] = {
        "type": family.type,
        "help": family.documentation,
        "samples": [[sample.name, sample.labels, sample.value] for sample in family.samples],
    }
print(json.dumps(families))
