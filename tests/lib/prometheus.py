# SPDX-License-Identifier: Apache-2.0
"""Check a file against Prometheus' text format, version 0.0.4, strictly."""
import re
import sys

sample = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.]+|[+-]Inf|NaN)$')
types, seen, finished, last, counts, text = {}, set(), set(), None, {}, open(sys.argv[1]).read()
assert text.endswith("\n"), "no newline at the end"
for line in text.splitlines():
    if line.startswith("# HELP "):
        continue
    if line.startswith("# TYPE "):
        name, kind = line.split()[2:]
        assert name not in types, f"{name}: a second TYPE"
        assert kind in ("counter", "gauge", "histogram"), line
        types[name] = kind
        continue
    match = sample.match(line)
    assert match, f"no sample: {line}"
    name, labels, value = match[1], match[3] or "", float(match[4])
    base = re.sub("_(bucket|sum|count)$", "", name)
    base = base if types.get(base) == "histogram" else name
    assert base in types, f"{name}: no TYPE before it"
    assert (name, labels) not in seen, f"twice: {line}"
    assert base == last or base not in finished, f"{base}: not in one group"
    assert types[base] != "counter" or name.endswith("_total"), f"{name}: a counter ends in _total"
    assert types[base] == "gauge" or value >= 0, line
    if name.endswith("_bucket"):
        key = (base, re.sub('le="[^"]*"', "", labels))
        assert value >= counts.get(key, 0), f"buckets fall: {line}"
        counts[key] = value
    seen.add((name, labels))
    finished.add(last)
    last = base
for name in types:
    assert name in {n for n, _ in seen} or types[name] != "gauge", f"{name}: no sample"
