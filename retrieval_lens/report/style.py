"""What a report adds to the style sheet of a page: tables of texts read from the left."""

from retrieval_lens.report.conventions import HEADING
from retrieval_lens.report.grid_record import PROMPTS
from retrieval_lens.report.parts import RUN

_TEXTS = ", ".join(
    f'[aria-label^="{name}"]' for name in (RUN, HEADING, PROMPTS, "What was written")
)
_PAIRS = ", ".join(f'[aria-label^="{name}"]' for name in (RUN, "How right"))

CSS = f"""
figure.table tbody th {{ text-align: left; vertical-align: top; font-weight: 600; }}
figure.table:is({_TEXTS}) :is(td, thead th) {{ text-align: left; white-space: pre-wrap;
  overflow-wrap: anywhere; vertical-align: top; }}
figure.table:is({_TEXTS}) td {{ min-width: 7rem; max-width: 52rem; }}
figure.table:is({_PAIRS}) thead {{ display: none; }}
figure.table pre {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: 0.85rem; }}
@media (max-width: 700px) {{
  figure.table tbody th {{ white-space: normal; overflow-wrap: break-word; min-width: 9rem; }}
}}
"""
