"""The style sheet of a page: system fonts, light and dark, narrow and wide.

Figures keep a white ground in both modes, because their colours are chosen for it.
"""

CSS = """
:root { color-scheme: light dark; --ink: #1a2230; --soft: #55606f; --ground: #f6f7f9; --rule:
#d5dbe3; } @media (prefers-color-scheme: dark) {
  :root { --ink: #e7ebf1; --soft: #a6b0be; --ground: #12161c; --rule: #343c48; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem clamp(0.75rem, 3vw, 2rem) 4rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0 0 0.4rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 0.4rem; }
h1, h2, p { overflow-wrap: anywhere; }
p { max-width: 46rem; margin: 0 0 0.9rem; }
.subtitle { color: var(--soft); font-size: 1.05rem; }
figure { margin: 0.9rem 0 0; padding: 0.75rem; overflow-x: auto; border: 1px solid var(--rule);
  border-radius: 8px; }
figure:focus-visible { outline: 3px solid #4c8fd0; outline-offset: 2px; }
figure.chart, figure.tokens { background: #fff; color: #1a2230; color-scheme: light; }
figure.chart > div { min-width: 680px; }
figure.sized > div { min-width: 0; }
figure.tokens { min-height: 14rem; overflow-wrap: anywhere; }
figure .caption { font-size: 0.9rem; color: #55606f; }
figure.table table { border-collapse: collapse; font-size: 0.92rem;
  font-variant-numeric: tabular-nums; }
figure.table :is(th, td) { padding: 0.3rem 0.8rem; text-align: right; white-space: pre;
  border-bottom: 1px solid var(--rule); }
figure.table thead th { border-bottom-width: 2px; }
@media print { figure { break-inside: avoid; } }
"""
