"""A corpus: a folder with one file a trace, read one at a time.

```
corpus.json                  model, scores, hooks, precision, versions; sealed by a digest
traces/ID-DIGEST.safetensors   one example each, as `Trace.save` writes it
.lock                        held by the process that collects
```

1. A trace is written beside its place and renamed, so a kill leaves whole files only.
2. Traces are in the order of their file names, which come from the examples' ids: a corpus is the
   same whatever order it was collected in.
3. Reading checks each file's checksum and keeps nothing: memory is that of one trace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import load_json
from retrieval_lens.tracing import Trace

if TYPE_CHECKING:
    from datasets import Dataset

MANIFEST, TRACES, KIND = "corpus.json", "traces", "corpus"
_LONGEST = 150  # bytes of an id that its file name shows; a name has at most 255


@dataclass(frozen=True, eq=False)
class Corpus(Sequence[Trace]):
    """Traces on disk; a sequence of them, each read when it is asked for.

    Attributes:
        path: The folder.
        manifest: Configuration and versions, as JSON types.

    Examples:
        ```python
        corpus = rl.collect(model, [example], "a_corpus", max_new_tokens=4)
        corpus[0].scores["copy_paste"].shape  # [step, layer, head]
        rl.Corpus.open("a_corpus").example_ids
        ```
    """

    path: Path
    manifest: dict[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: str | Path) -> "Corpus":
        """The corpus in a folder.

        Raises:
            InputError: There is none.
            FileFormatError: Its manifest is damaged.
        """
        path = Path(path)
        try:
            return cls(path, load_json(path / MANIFEST, KIND))
        except FileNotFoundError:
            raise InputError(f"{path} holds no corpus: there is no {MANIFEST} in it") from None

    @property
    def files(self) -> list[Path]:
        """The traces' files, in order."""
        return sorted((self.path / TRACES).glob("*.safetensors"))

    @property
    def example_ids(self) -> list[str]:
        """The examples, in order; reads every trace."""
        return [trace.provenance["example"]["id"] for trace in self]

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Trace: ...

    @overload
    def __getitem__(self, index: slice) -> list[Trace]: ...

    def __getitem__(self, index: int | slice) -> Trace | list[Trace]:
        """One trace, or a list of them; hidden states are float32 whatever they are stored in."""
        found = self.files[index]
        return [read_trace(one) for one in found] if isinstance(found, list) else read_trace(found)

    def __iter__(self) -> Iterator[Trace]:
        return map(read_trace, self.files)

    def as_dataset(self, cache_dir: str | Path | None = None) -> "Dataset":
        """The corpus as a Hugging Face dataset, one row a step; see `corpora.dataset`.

        Args:
            cache_dir: Where the library keeps its copy; a folder in the corpus by default.

        Raises:
            FileFormatError: A damaged trace.
            InputError: The corpus is empty.
        """
        from retrieval_lens.corpora.dataset import as_dataset

        return as_dataset(self, cache_dir)


def read_trace(path: Path) -> Trace:
    """One trace of a corpus.

    Raises:
        FileFormatError: The file is damaged; collecting again mends it.
    """
    try:
        trace = Trace.load(path)
    except FileFormatError as error:
        raise FileFormatError(f"{error}; call collect again, which traces it anew") from error
    return replace(trace, hiddens={name: h.float() for name, h in trace.hiddens.items()})


def file_name(example_id: str) -> str:
    """The name of an example's file.

    Examples:
        >>> file_name("needle 1/2")
        'needle_1_2-46c95d6c.safetensors'
    """
    shown = "".join(c if c.isalnum() or c in ".-_" else "_" for c in example_id)
    shown = shown.encode()[:_LONGEST].decode(errors="ignore")
    return f"{shown}-{sha256(example_id.encode()).hexdigest()[:8]}.safetensors"
