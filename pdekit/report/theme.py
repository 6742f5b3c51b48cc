"""The style sheet of the report page: one column of prose, two of figures, light, dark and on paper."""

from pdekit.report import style

# The figures' colors on a dark page, lighter and less saturated than on a light one.
_DARK_FIGURES = {
    "ink": "#e3e8ee",
    "muted": "#9aa7b6",
    "grid": "#2a323c",
    "observed": "#93a1b2",
    "fitted": "#5cb3ec",
    "band": "#3f86b5",
    "simulated": "#f08a4b",
    "reference": "#c4a1d6",
}
_DARK_PAGE = {
    "paper": "#14181d",
    "card": "#1a2027",
    "rule": "#303944",
    "accent": "#6fb9ea",
    "ok": "#59b98c",
    "note": "#6fb0e8",
    "warning": "#e0a83e",
    "serious": "#ee7b70",
}
_LIGHT_PAGE = {
    "paper": "#fcfcfa",
    "card": "#ffffff",
    "rule": "#dcdfe4",
    "accent": "#0b5c8c",
    "ok": "#1f7a52",
    "note": "#1d659f",
    "warning": "#946200",
    "serious": "#b3261e",
}


def _variables(colors: dict[str, str]) -> str:
    return "".join(f"--{name}:{color};" for name, color in colors.items())


_LIGHT = _variables(_LIGHT_PAGE | style.THEME)
_DARK = _variables(_DARK_PAGE | _DARK_FIGURES)

_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:400 1rem/1.6 var(--sans)}
.page{max-width:74rem;margin:0 auto;padding:3.5rem 2rem 3rem}
h1,h2,h3{font-family:var(--serif);font-weight:600;line-height:1.2;text-wrap:balance;overflow-wrap:anywhere}
h1{font-size:2.5rem;letter-spacing:-.012em;margin:0}
h2{font-size:1.5rem;margin:0 0 1.1rem}
h3{font-size:1.08rem;margin:0 0 .5rem}
p{max-width:44rem;margin:0 0 1rem;overflow-wrap:anywhere;hyphens:auto}
a{color:var(--accent);text-underline-offset:.2em;text-decoration-thickness:1px}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:3px;
border-radius:2px}
pre,.facts dd{font-family:var(--mono);font-size:.86em;font-variant-ligatures:none}
header{border-bottom:1px solid var(--rule);padding-bottom:1.9rem}
.subtitle{font-family:var(--serif);font-size:1.22rem;font-style:italic;color:var(--muted);margin:.55rem 0 0;
max-width:52rem}
.chips{display:flex;flex-wrap:wrap;gap:.5rem;list-style:none;margin:1.3rem 0 0;padding:0}
.chips a{display:inline-block;padding:.1rem .75rem;border-radius:1rem;font-size:.86rem;font-weight:600;
text-decoration:none;
color:var(--tone);background:color-mix(in srgb,var(--tone) 11%,var(--paper));
border:1px solid color-mix(in srgb,var(--tone) 35%,var(--paper))}
.key{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1.2rem 2rem;margin:1.8rem 0 0}
.key dt,.facts dt{color:var(--muted);font-size:.84rem}
.key dd{margin:.05rem 0 0;font-size:1.06rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
nav{border-bottom:1px solid var(--rule);padding:.8rem 0}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.7rem;list-style:none;margin:0;padding:0;font-size:.92rem}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
section{margin-top:3rem}
.formula{margin:1.4rem 0 1.6rem}
.formula svg{display:block;font-size:1.28rem;max-width:100%;height:auto}
.formula pre{font-size:1rem}
details{margin-top:.7rem;font-size:.88rem}
summary{cursor:pointer;color:var(--muted);width:max-content}
pre{margin:.5rem 0 0;white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);border:1px solid var(--rule);
border-radius:6px;padding:.6rem .9rem}
.scroll{overflow-x:auto;margin:0 0 1.8rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums lining-nums;border-top:2px solid var(--ink);
border-bottom:2px solid var(--ink)}
caption{caption-side:top;text-align:left;font-family:var(--serif);font-size:1.08rem;font-weight:600;
padding:0 0 .55rem}
th,td{padding:.38rem 1.7rem .38rem 0;text-align:left;vertical-align:baseline}
th:last-child,td:last-child{padding-right:.2rem}
th:first-child{padding-left:.2rem}
thead td,thead th{font-size:.84rem;font-weight:500;color:var(--muted);border-bottom:1px solid var(--ink);
vertical-align:bottom}
tbody th{font-weight:600}
tbody tr+tr>*{border-top:1px solid var(--rule)}
.number{text-align:right;white-space:nowrap}
.tablenote{font-size:.88rem;color:var(--muted);margin:.55rem 0 0}
.figures{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1.6rem 1.8rem;margin:0 0 1.8rem}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:1rem 1.1rem 1.05rem;
display:flex;flex-direction:column;break-inside:avoid}
figure.wide{grid-column:1/-1}
figure svg{display:block;width:100%;height:auto}
figure svg text,figure svg tspan{font-family:var(--sans)!important}
figcaption{margin-top:.75rem;font-size:.9rem;line-height:1.5;color:var(--muted);max-width:44rem;
overflow-wrap:anywhere}
figcaption strong{color:var(--ink);font-weight:600}
.ok{--tone:var(--ok)}.note{--tone:var(--note)}.warning{--tone:var(--warning)}.serious{--tone:var(--serious)}
.flags{list-style:none;margin:0 0 1.8rem;padding:0;display:grid;gap:.9rem}
.flag{border:1px solid color-mix(in srgb,var(--tone) 28%,var(--paper));border-left:4px solid var(--tone);
border-radius:6px;
background:color-mix(in srgb,var(--tone) 6%,var(--card));padding:.85rem 1.15rem .9rem;break-inside:avoid}
.flag h3{display:flex;flex-wrap:wrap;align-items:baseline;gap:.15rem .8rem;margin:0}
.severity{font:700 .76rem/1.6 var(--sans);letter-spacing:.05em;text-transform:uppercase;color:var(--tone)}
.value{font:500 .88rem/1.6 var(--mono);color:var(--muted);margin-left:auto;white-space:nowrap}
.flag p{margin:.4rem 0 0;max-width:54rem}
.flag .action::before{content:"What to do: ";font-weight:600}
.passed{grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:.5rem 1.8rem}
.passed li{border-top:1px solid var(--rule);padding:.55rem 0 0;break-inside:avoid}
.passed h3{font:600 .95rem/1.5 var(--sans);display:flex;gap:.5rem;margin:0}
.passed h3::before{content:"\\2713";content:"\\2713" / "";color:var(--tone)}
.passed p{font-size:.88rem;color:var(--muted);margin:.1rem 0 0}
.facts{display:grid;grid-template-columns:minmax(8rem,max-content) minmax(0,1fr);margin:0 0 1.8rem;
border-top:1px solid var(--rule)}
.facts dt,.facts dd{margin:0;padding:.42rem 1.8rem .42rem 0;border-bottom:1px solid var(--rule)}
.facts dd{overflow-wrap:anywhere;white-space:pre-wrap;padding-right:0}
footer{margin-top:3.5rem;padding-top:1.1rem;border-top:1px solid var(--rule);font-size:.86rem;color:var(--muted)}
footer p{margin:0}
@media screen and (max-width:52rem){
.page{padding:2rem 1.1rem}h1{font-size:1.9rem}.figures{grid-template-columns:minmax(0,1fr)}
figure.wide{overflow-x:auto}figure.wide svg{min-width:42rem}
.facts{grid-template-columns:minmax(0,1fr)}.facts dt{border-bottom:0;padding-bottom:0}.facts dd{padding-top:0}}
"""

_PRINT = """
@page{margin:16mm 15mm}
html{font-size:9.5pt}body{background:none}
.page{max-width:none;padding:0}
h1{font-size:20pt}h2{font-size:14pt}
section{margin-top:1.8rem}
.figures{gap:.9rem}
h2,h3,caption{break-after:avoid}
table,figure,.flag,.formula,tr{break-inside:avoid}
.scroll{overflow:visible}
nav,details{display:none}
a{color:inherit;text-decoration:none}
.flag,.chips a{print-color-adjust:exact;-webkit-print-color-adjust:exact}
"""

STYLESHEET = (
    ":root{color-scheme:light dark;"
    "--serif:'Iowan Old Style','Palatino Linotype',Palatino,'URW Palladio L','Book Antiqua','Noto Serif',Georgia,serif;"
    "--sans:system-ui,-apple-system,'Segoe UI','Helvetica Neue',Roboto,'Noto Sans',Arial,sans-serif;"
    "--mono:ui-monospace,'SF Mono','Cascadia Code',Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    f"{_LIGHT}}}"
    # Paper is white whatever the screen's mode, so dark is for screens alone.
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    f"{_RULES}@media print{{{_PRINT}}}"
)
