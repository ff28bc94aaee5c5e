"""Options that several commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval_lens.errors import InputError

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
MaxNewTokens = Annotated[int, typer.Option(help="At most so many decode steps.")]
FIGURES = (".html", ".png", ".svg", ".pdf")
TABLES = (".csv", ".parquet")
Folder = Annotated[Path, typer.Option(help="Where the files are written; made if missing.")]


def names(text: str | None) -> list[str] | None:
    """The parts of `a,b`; None stays None, so that a default can take its place.

    Examples:
        >>> names("coast, essays")
        ['coast', 'essays']
    """
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def integers(option: str, text: str | None) -> list[int] | None:
    """Whole numbers of `0,1,5`, `0-4,9` or `1-59:2`, every second one.

    Raises:
        InputError: Something else, with the option's name.

    Examples:
        >>> integers("--seeds", "0-2,7")
        [0, 1, 2, 7]
        >>> integers("--questions", "1-7:2")
        [1, 3, 5, 7]
    """
    found: list[int] = []
    for part in names(text) or ():
        whole, _, every = part.partition(":")
        first, _, last = whole.partition("-")
        if not all(one.isdecimal() for one in (first, last or first, every or "1")) or (
            every and (not last or int(every) < 1)
        ):
            raise InputError(
                f"{option} wants whole numbers such as 0,1,5 or 0-4 or 0-10:2; got {text!r}"
            )
        if last and int(last) < int(first):
            raise InputError(f"{option}: {part!r} runs backwards")
        found += range(int(first), int(last or first) + 1, int(every or 1))
    return None if text is None else found


def numbers(option: str, text: str | None) -> list[float] | None:
    """Numbers of `0,0.5,1`.

    Raises:
        InputError: Something else, with the option's name.

    Examples:
        >>> numbers("--depths", "0,0.5")
        [0.0, 0.5]
    """
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} wants numbers such as 0,0.5,1; got {text!r}") from None


def writable(option: str, path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that could not be written, before anything is computed.

    Raises:
        InputError: Another ending, or a folder that does not exist.
    """
    if path is None:
        return
    if path.suffix not in suffixes:
        raise InputError(f"{option} ends in {', '.join(suffixes)}; got {str(path)!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{option} {path} is a folder, or in a folder that does not exist")


def write_table(frame: Any, path: Path) -> None:
    """A table as CSV or Parquet, by its ending; its conventions beside a CSV, as JSON."""
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
        if frame.attrs:
            beside = path.with_name(path.name + ".json")
            beside.write_text(json.dumps(frame.attrs, indent=1) + "\n", "utf-8")
    else:
        frame.to_parquet(path, index=False)


def write_figure(figure: Any, path: Path, title: str) -> None:
    """A figure as a page that works offline, or as a picture, by its ending."""
    if path.suffix == ".html":
        from retrieval_lens.viz import page

        path.write_text(page(title, [("Figure", None, figure)]), "utf-8")
    else:
        figure.write_image(path)


def with_interval(row: Any) -> str:
    """A value with its interval, where it has one.

    Examples:
        >>> with_interval({"value": 0.5, "low": 0.25, "high": float("nan")})
        '0.500'
    """
    if row["low"] != row["low"] or row["high"] != row["high"]:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def read_config(path: Path | None) -> dict[str, Any]:
    """Fields of a grid from a JSON file; none without one.

    Raises:
        InputError: Not JSON, or no object.
        FileNotFoundError: There is no such file.
    """
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object with the fields of a grid")
    return found
