"""Every error that the package raises on purpose.

```
RetrievalLensError
├── InputError (also a ValueError)
│   ├── EvidenceError
│   ├── ContextLengthError
│   ├── InvalidExampleError
│   ├── ChatTemplateError
│   └── UnknownNameError
├── ModelError
│   ├── CheckpointError
│   └── UnsupportedModelError
├── NumericalError
├── GridError
└── FileFormatError
```

Each message says what was received, what was wanted, and what to do.
"""


class RetrievalLensError(Exception):
    """Base of all errors of this package."""


class InputError(RetrievalLensError, ValueError):
    """An argument cannot be used as it is."""


class EvidenceError(InputError):
    """Evidence is missing from the prompt, found more than once, empty, or cut off."""


class ContextLengthError(InputError):
    """Prompt and response together exceed the model's context."""


class InvalidExampleError(InputError):
    """No valid prompt can be made: its facts are cut off, say. A grid counts it and goes on."""


class ChatTemplateError(InputError):
    """The tokenizer's chat template is missing, or its output does not hold the messages."""


class UnknownNameError(InputError):
    """No entry under this name; the message lists the known ones."""


class ModelError(RetrievalLensError):
    """A model cannot be loaded or must not be trusted."""


class CheckpointError(ModelError):
    """Weights are missing or damaged, or could not be fetched."""


class UnsupportedModelError(ModelError):
    """The model's attention cannot be read or edited through TransformerLens."""


class NumericalError(RetrievalLensError):
    """A NaN or an infinity where the method needs a number."""


class GridError(RetrievalLensError):
    """A cell of a grid failed, or its workers died again and again; finished cells are kept."""


class FileFormatError(RetrievalLensError):
    """A file is damaged, of a foreign format, or of an unknown version."""
