"""Run a detector on a model: the whole detection, or the table of its heads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrieval_lens.detectors.base import HeadDetector, check_examples
from retrieval_lens.detectors.detection import Detection
from retrieval_lens.detectors.wu import Wu
from retrieval_lens.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame


def detect(
    model: Any,
    examples: Sequence[Any],
    detector: Any = None,
    *,
    max_new_tokens: int = 64,
    batch_size: int = 8,
    progress: bool = True,
) -> Detection:
    """Score every head of a model with a detector.

    Args:
        model: A `TransformerBridge`.
        examples: The detection corpus; the lists that come out refuse to be judged on it.
        detector: A `HeadDetector`; None is `Wu()`.
        max_new_tokens: At most so many decode steps.
        batch_size: Examples that run together.
        progress: Show a progress bar when it takes more than two seconds.

    Returns:
        Scores by example, with `.scores`, `.frame()`, `.heads(k)`, `.share`, `.save(path)`.

    Raises:
        InputError: No example, one twice, none that the detector keeps, or something else than a
            detector.
        ContextLengthError: An example does not fit; nothing is run before all are known to.

    Examples:
        ```python
        examples = [rl.needle_example(model.tokenizer, 40, seed=seed) for seed in (0, 1)]
        mean = rl.detectors.ScoreMean(rl.Reasoning())
        detection = rl.detectors.detect(model, examples, mean, max_new_tokens=4)
        detection.heads(3), detection.share
        ```
    """
    detector = Wu() if detector is None else detector
    if not isinstance(detector, HeadDetector):
        raise InputError(f"a detector is an object such as Wu() or ScoreMean(), not {detector!r}")
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be at least 1; got {max_new_tokens}")
    examples = list(examples)
    check_examples(examples)
    return detector.detect(
        model, examples, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=progress
    )


def detect_heads(
    model: Any,
    examples: Sequence[Any],
    detector: Any = None,
    *,
    max_new_tokens: int = 64,
    batch_size: int = 8,
    progress: bool = True,
) -> "DataFrame":
    """The heads of a model as a table, strongest first; arguments and errors as in `detect`.

    Returns:
        Columns `layer`, `head`, `score`: all heads, ties by layer and head. `attrs` is JSON-able:
        `detector`, `parameters`, `threshold`, `share_above` (share of the heads whose score is at
        least the threshold), `n_samples`, `n_used` (examples that passed the detector's gate),
        `example_ids`, `n_layers`, `n_heads`, `model`, `conventions`.

    Examples:
        ```python
        examples = [rl.needle_example(model.tokenizer, 40, seed=seed) for seed in (0, 1)]
        mean = rl.detectors.ScoreMean(rl.CopyPaste())
        ranking = rl.detectors.detect_heads(model, examples, mean, max_new_tokens=4)
        ranking.head(), ranking.attrs["share_above"]
        ```
    """
    found = detect(
        model,
        examples,
        detector,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    return found.frame()
