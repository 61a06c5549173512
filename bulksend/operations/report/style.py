"""The style of a report: light and dark, on a screen and on paper. Nothing is loaded from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5b6675; --line: #dde2e8; --panel: #f6f8fa;
  --accepted: #4c78a8; --delivered: #2a9d8f; --read: #1f6f50; --failed: #c2453b; --unknown: #8a5bb0; --unsent: #8b94a0;
  --open: #c9a227; --rows: #6b7785; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e6eaef; --soft: #9aa5b1; --line: #323a44;
  --panel: #1c2229; --accepted: #7ba7d6; --delivered: #4cc3b4; --read: #6fcf9f; --failed: #f0857b; --unknown: #bd93e0;
  --unsent: #98a2ae; --open: #e0c15a; --rows: #93a0ae; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 56rem; padding: 2rem 1.25rem 3rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: .25rem 0; } .soft { color: var(--soft); }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
ul.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1.25rem 0;
  padding: 0; list-style: none; }
ul.figures li { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; }
ul.figures b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; line-height: 1.25; }
ul.figures span { color: var(--soft); font-size: .85rem; display: block; }
figure { margin: 1rem 0 0; } figcaption { color: var(--soft); margin-bottom: .5rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 13px; font-family: inherit; } svg text.soft { fill: var(--soft); }
svg .axis { stroke: var(--line); stroke-width: 1; } svg .track { fill: var(--panel); }
.rows { fill: var(--rows); } .accepted { fill: var(--accepted); } .delivered { fill: var(--delivered); }
.read { fill: var(--read); } .failed { fill: var(--failed); } .unknown { fill: var(--unknown); }
.unsent { fill: var(--unsent); } .open { fill: var(--open); }
.table { overflow-x: auto; margin-top: .75rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; }
td:first-child { white-space: nowrap; } td.words { min-width: 12rem; overflow-wrap: anywhere; }
ul.legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; margin: .25rem 0 0; padding: 0;
  font-size: .85rem; color: var(--soft); }
ul.legend svg { display: inline-block; width: 11px; height: 11px; margin-right: .35rem; vertical-align: -1px; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media print { @page { margin: 15mm; } :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444;
  --line: #bbb; --panel: #f3f3f3; --accepted: #4c78a8; --delivered: #2a9d8f; --read: #1f6f50; --failed: #c2453b;
  --unknown: #8a5bb0; --unsent: #8b94a0; --open: #c9a227; --rows: #6b7785; }
  body { max-width: none; padding: 0; font-size: 11pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, figcaption { break-after: avoid; } figure > svg, tr { break-inside: avoid; }
  thead { display: table-header-group; } }
"""

#: The policy of a page with this style: it loads nothing and runs nothing.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'"
)
