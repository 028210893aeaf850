"""The frame and the style of a report."""

from __future__ import annotations

import base64
import hashlib
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6570; --page: #ffffff;
  --panel: #f5f7f9; --rule: #dde3e8; --accent: #0072b2; --hit: 0, 114, 178;
  --miss: 213, 94, 0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --soft: #9aa5b1; --page: #14181c;
  --panel: #1d2328; --rule: #333b43; --accent: #56b4e9; --hit: 86, 180, 233;
  --miss: 240, 130, 50; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 32px 24px 64px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 40px 0 12px; }
.sub, .hint { color: var(--soft); margin: 4px 0 12px; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 24px; }
.tile { flex: 1 1 150px; background: var(--panel); border-radius: 8px; padding: 14px 18px;
  border-top: 3px solid var(--rule); }
.tile.main { border-top-color: var(--accent); }
.tile b { display: block; font-size: 28px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); }
.notes { background: var(--panel); border-left: 3px solid #e69f00; border-radius: 0 8px 8px 0;
  padding: 4px 20px; margin-top: 24px; }
.notes h2 { margin: 10px 0 0; font-size: 15px; }
.notes ul { margin: 6px 0 10px; padding: 0 0 0 18px; }
.notes li { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 5px 10px; border-bottom: 1px solid var(--rule);
  vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 500; font-size: 13px; white-space: nowrap; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.name { white-space: nowrap; } .key-column { width: 240px; }
.wide { width: 28%; } cite { color: var(--soft); font-size: 13px; }
.bar { display: block; height: 8px; margin-top: 8px; background: var(--rule); border-radius: 4px; }
.bar span { display: block; height: 100%; background: var(--accent); border-radius: 4px; }
.figures { display: flex; flex-wrap: wrap; gap: 24px; }
figure { margin: 0; flex: 1 1 420px; max-width: 560px; }
.chart { width: 100%; height: auto; display: block; }
.grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.quiet { fill: none; stroke: var(--soft); stroke-opacity: .3; stroke-width: 1; }
.dot { fill-opacity: 0; } .dot:hover { fill-opacity: 1; }
.tile small { display: block; color: var(--soft); font-variant-numeric: tabular-nums; }
.tick, .title { fill: var(--soft); font-size: 11px; } .title { font-size: 12px; }
.mid { text-anchor: middle; } .end { text-anchor: end; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 6px 0 0 44px;
  padding: 0; font-size: 13px; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; }
.scroll { overflow-x: auto; }
.confusion { width: auto; font-size: 13px; }
.confusion td { text-align: right; min-width: 34px; font-variant-numeric: tabular-nums;
  border: 1px solid var(--page); overflow-wrap: normal; }
.confusion th { white-space: nowrap; border: 0; overflow-wrap: normal; }
.confusion tbody th { text-align: right; } .confusion thead th { vertical-align: bottom; }
.confusion thead th div { writing-mode: vertical-rl; transform: rotate(180deg); }
.hit { background: rgba(var(--hit), calc(var(--shade) * .6)); }
.miss { background: rgba(var(--miss), calc(var(--shade) * .75)); }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr));
  gap: 20px; } .examples.small { grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.example { max-width: none; background: var(--panel); border-radius: 8px; overflow: hidden; }
.example .pair { display: flex; gap: 2px; } .example .pair div { flex: 1; }
.example img { width: 100%; display: block; }
.example .tag { display: block; color: var(--soft); font-size: 12px; padding: 3px 12px; }
figcaption { padding: 8px 12px; font-size: 13px; overflow-wrap: anywhere; }
figcaption span { color: var(--soft); }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
@media screen and (max-width: 720px) { table { display: block; overflow-x: auto; }
  .key-column, .wide { min-width: 72px; width: auto; } figure { flex-basis: 100%; } }
@media print { body { max-width: none; padding: 0; font-size: 11px; }
  .examples { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .examples.small { grid-template-columns: repeat(4, 1fr); } figure { flex-basis: 40%; }
  section, figure, tr { break-inside: avoid; } section:has(table), section:has(.examples)
  { break-inside: auto; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def page(
    title: str, heading: str, subtitle: str, body: str, *, style: str = "", script: str = ""
) -> str:
    """A whole HTML document.

    Args:
        title, heading, subtitle: plain text; escaped here.
        body: HTML, with every name in it escaped already.
        style: more CSS.
        script: a script of our own, the same on every page: nothing of the data in it.
    """
    allowed = ""
    if script:
        # By its hash, so that no other script runs, whatever a file name contains.
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed, script = f"; script-src 'sha256-{digest}'", f"<script>{script}</script>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing may be loaded and no foreign script may run, whatever a file name contains.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        f" img-src data:; style-src 'unsafe-inline'{allowed}\">"
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>"
        f'<header><h1>{escape(heading)}</h1><p class="sub">{escape(subtitle)}</p></header>'
        f"<main>{body}</main><footer>Written by Whatwhere.</footer>{script}"
        "</body></html>\n"
    )
