"""The page's style: light and dark as the reader's system has it, narrow screens, paper."""

CSS = """
:root{color-scheme:light dark;--back:#fbfbfa;--card:#fff;--ink:#1b1f24;--soft:#5b6570;
--rule:#dfe3e8;--a:#0072B2;--b:#B34700;--c:#00795a;--d:#7a4fa3;--e:#8a6d00;--f:#5b6570;
--warn:#fff4e0;--warned:#7a4b00}
@media (prefers-color-scheme:dark){:root{--back:#14171b;--card:#1d2126;--ink:#e6e9ec;--soft:#a0a9b3;
--rule:#343b43;--a:#56B4E9;--b:#F08A4B;--c:#3fc79a;--d:#c39be6;--e:#e3c04c;--f:#a0a9b3;
--warn:#3a2d14;--warned:#ffd591}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:16px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:1.45rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:0 0 4px}
h3{font-size:.95rem;margin:0}
p{margin:4px 0}
header{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline;margin-bottom:12px}
header .when{color:var(--soft);margin-left:auto}
section,.tile,.alert{background:var(--card);border:1px solid var(--rule);border-radius:8px;
padding:12px 14px;margin:0 0 14px}
.state{border-radius:999px;padding:1px 10px;font-size:.85rem;font-weight:600;border:1px solid}
.running,.complete{color:var(--c)}.waiting,.stopped{color:var(--b)}.failed{color:var(--b)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:10px;
margin-bottom:14px}
.tile{margin:0;padding:8px 12px}
.tile b{display:block;font-size:1.3rem;font-weight:600;font-variant-numeric:tabular-nums}
.tile span{display:block}
.tile span,.note,figcaption,.empty{color:var(--soft);font-size:.87rem}
.alert{background:var(--warn);color:var(--warned);border-color:currentColor;
overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:16px}
.wide{grid-template-columns:repeat(auto-fit,minmax(min(330px,100%),1fr))}
figure{margin:0;min-width:0;max-width:520px}
figure .now{float:right;font-variant-numeric:tabular-nums;font-weight:600}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:12px system-ui,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .end{text-anchor:end}svg .mid{text-anchor:middle}svg .key{fill:var(--ink)}
svg .halo{paint-order:stroke;stroke:var(--card);stroke-width:3px}
.grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.bar{stroke-width:6;opacity:.25}
.line.b{stroke-dasharray:6 3}
.band{stroke:none;opacity:.18}
.line.a,.bar.a{stroke:var(--a)}.line.b,.bar.b{stroke:var(--b)}.line.c,.bar.c{stroke:var(--c)}
.band.a,circle.a{fill:var(--a)}.band.b,circle.b{fill:var(--b)}.band.c,circle.c{fill:var(--c)}
.bound{fill:none;stroke:var(--a);stroke-width:1.3}
.scroll{overflow-x:auto;margin-top:6px}
table{border-collapse:collapse;width:100%;font-size:.87rem;font-variant-numeric:tabular-nums}
th,td{padding:3px 8px;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top;
white-space:nowrap}
th{color:var(--soft);font-weight:600}
th:not(.w),td:not(.w){width:1%}
.w{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:12em}
td.w{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
td.said{font-family:inherit}
tr.yes td{background:color-mix(in srgb,var(--c) 14%,transparent)}
code{display:block;font:.87rem ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;
background:var(--back);border:1px solid var(--rule);border-radius:6px;padding:8px;margin-top:6px;
white-space:pre-wrap;overflow-wrap:anywhere}
.split{display:flex;height:26px;border-radius:5px;overflow:hidden;margin:8px 0}
.split i{display:block;min-width:1px}
.p0{background:var(--a)}.p1{background:var(--b)}.p2{background:var(--c)}.p3{background:var(--d)}
.p4{background:var(--e)}.p5{background:var(--f)}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
summary{cursor:pointer;color:var(--soft)}
@media (max-width:480px){body{padding:8px;font-size:14px}section,.tile,.alert{padding:9px 10px}
.tiles{grid-template-columns:1fr 1fr}.w{min-width:9em}header .when{margin-left:0;width:100%}}
@media print{:root{--back:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#bbb;--a:#0072B2;
--b:#B34700;--c:#00795a;--d:#7a4fa3;--e:#8a6d00;--f:#5b6570;--warn:#fff;--warned:#000}
body{max-width:none;font-size:11px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
html{font-size:11px}.charts{grid-template-columns:1fr 1fr 1fr}.wide{grid-template-columns:1fr 1fr}
figure,tr,.tile{break-inside:avoid}.scroll{overflow:visible}}
"""
