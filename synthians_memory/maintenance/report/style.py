"""How a report looks: one sheet of styles, for light and dark, wide and narrow screens, and paper.

It knows nothing of what a report says.
"""

from __future__ import annotations

from typing import Final

__all__ = ["STYLE"]

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f4f4f0; --card: #ffffff; --ink: #1b1b19; --soft: #5b5a55; --line: #dddcd6; --track: #ecebe6;
  --accent: #2a6fc9; --area: #2a6fc930;
  --healthy: #2f8f5b; --findings: #8a8880; --mended: #c68a12; --restored: #d2621f; --failed: #c4342e;
  --g0: #2a6fc9; --g1: #d9621e; --g2: #17936a; --g3: #8b46c7; --g4: #c9337b; --g5: #a67a00; --g6: #0f8ea8; --g7: #8a8880;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #161614; --card: #20201e; --ink: #f1f0ea; --soft: #b3b1a8; --line: #3a3935; --track: #2c2b28;
    --accent: #6ea6f2; --area: #6ea6f230;
    --healthy: #55bd85; --findings: #9b998f; --mended: #e0ab3f; --restored: #f08a4c; --failed: #f0645c;
    --g0: #6ea6f2; --g1: #f08a4c; --g2: #46c297; --g3: #bb8af0; --g4: #f078ab; --g5: #d8b13c; --g6: #4cc3dc; --g7: #9b998f;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
.page { max-width: 70rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
header p, .lead, .note { color: var(--soft); }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 0 0 .25rem; }
h3 { font-size: .9rem; font-weight: 600; margin: 1.25rem 0 .25rem; }
p { margin: 0 0 .75rem; max-width: 60rem; }
.place, .id { overflow-wrap: anywhere; }
.place { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0; padding: 0; list-style: none; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.tile { padding: .75rem .9rem; }
.tile .value { display: block; font-size: 1.45rem; font-weight: 650; line-height: 1.25; letter-spacing: -.01em; }
.tile .name, .tile .more { display: block; color: var(--soft); font-size: .85rem; }
.good .value { color: var(--healthy); }
.bad .value { color: var(--failed); }
.warn .value { color: var(--mended); }
.card { padding: 1.1rem 1.25rem 1.25rem; margin: 0 0 1rem; }
figure { margin: 0; }
svg { display: block; width: 100%; }
.plot { display: grid; grid-template-columns: 3.75rem 1fr; column-gap: .5rem; }
.plot .scale { display: flex; flex-direction: column; justify-content: space-between; text-align: right; color: var(--soft); font-size: .75rem; line-height: 1; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 0 1.5rem; }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .92em; }
.plot .times { grid-column: 2; }
.times { display: flex; justify-content: space-between; color: var(--soft); font-size: .75rem; padding-top: .35rem; gap: .5rem; }
.chart { height: 8rem; border-bottom: 1px solid var(--line); }
.strip { height: 3.5rem; border-bottom: 1px solid var(--line); }
.lane { height: 1.6rem; background: var(--track); border-radius: .3rem; }
.bar { fill: var(--accent); }
.area { fill: var(--area); }
.edge { fill: none; stroke: var(--accent); stroke-width: 2; vector-effect: non-scaling-stroke; }
.mark { stroke-width: 3; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.healthy { fill: var(--healthy); stroke: var(--healthy); } .findings { fill: var(--findings); stroke: var(--findings); }
.mended { fill: var(--mended); stroke: var(--mended); } .restored { fill: var(--restored); stroke: var(--restored); }
.failed { fill: var(--failed); stroke: var(--failed); } .plain { fill: var(--accent); stroke: var(--accent); }
.strip rect, .bar { stroke: none; shape-rendering: crispEdges; }
.sizes, .lanes { display: grid; gap: .4rem .75rem; align-items: center; font-size: .9rem; }
.sizes { grid-template-columns: minmax(6rem, 11rem) 1fr minmax(8.5rem, auto); }
.sizes .amount { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
.lanes { grid-template-columns: minmax(5.5rem, 8rem) 1fr; }
.lanes .times { grid-column: 2; }
.meter { height: .8rem; }
.track { fill: var(--track); }
.map { width: 100%; height: auto; background: var(--page); border: 1px solid var(--line); border-radius: .4rem; }
.map circle, .map path { stroke: var(--page); stroke-width: 1; fill-opacity: .85; }
.map :hover { fill-opacity: 1; stroke: var(--ink); stroke-width: 2; }
.g0 { fill: var(--g0); } .g1 { fill: var(--g1); } .g2 { fill: var(--g2); } .g3 { fill: var(--g3); }
.g4 { fill: var(--g4); } .g5 { fill: var(--g5); } .g6 { fill: var(--g6); } .g7 { fill: var(--g7); }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; padding: 0; margin: .75rem 0 0; list-style: none; font-size: .85rem; }
.legend + .note, figure + .note { margin-top: .75rem; }
.legend li { display: flex; align-items: center; gap: .4rem; min-width: 0; overflow-wrap: anywhere; }
.legend svg { width: .85rem; height: .85rem; flex: none; }
.legend .count { color: var(--soft); }
details { margin-top: .9rem; font-size: .9rem; }
summary { cursor: pointer; color: var(--soft); width: fit-content; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: .2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin-top: .5rem; min-width: 60%; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-weight: 600; color: var(--soft); font-size: .85rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 34rem) {
  .page { padding: 1.25rem .75rem 2rem; }
  .card { padding: .9rem .9rem 1rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: .5rem; }
  .tile .value { font-size: 1.2rem; }
  .plot { grid-template-columns: 2.75rem 1fr; }
  .sizes { grid-template-columns: minmax(5rem, 7rem) 1fr auto; font-size: .82rem; }
  .lanes { grid-template-columns: 5.25rem 1fr; font-size: .82rem; }
  .sizes .files { display: none; }
  .middle { display: none; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; }
}
@media print {
  :root { --page: #ffffff; }
  .page { max-width: none; padding: 0; }
  .card, .tile { break-inside: avoid; border-color: #bbbbbb; }
  details::details-content { content-visibility: visible; block-size: auto; }
  summary { list-style: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
