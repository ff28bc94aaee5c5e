"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str, typer.Option(help="A named checkpoint, a Hub id, or a folder.", show_default=True)
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 …; by default a GPU if there is one.")
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Tokens = Annotated[int, typer.Option(help="Length of the haystack in tokens.")]
Depth = Annotated[float, typer.Option(help="Where the needle goes: 0 is the start, 1 the end.")]
Seed = Annotated[int, typer.Option(help="Draws the answer in the needle.")]
Haystack = Annotated[
    str | None,
    typer.Option(help="mixed, letters, workshop, coast, essays, a text file, or a folder."),
]
Needle = Annotated[str, typer.Option(help="magic_word (a UUID), ticket_number or boat_name.")]
MaxNewTokens = Annotated[int, typer.Option(help="Most decode steps.")]
Folder = Annotated[Path, typer.Option(help="Where the files are written; made if missing.")]
