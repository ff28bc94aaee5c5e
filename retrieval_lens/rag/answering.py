"""Answer a question, or many of them with several strategies.

1. What cannot be answered is refused before the model runs.
2. Each prompt has one `ModelReader`, which all strategies share, so that the whole context is
   prefilled once a question.
3. The loop itself is `pipeline.run`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retrieval_lens.errors import InputError
from retrieval_lens.progress import progress_bar
from retrieval_lens.rag.answer import Answer
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.context import context_of
from retrieval_lens.rag.pipeline import PLAIN, run
from retrieval_lens.rag.reader import ModelReader
from retrieval_lens.rag.settings import Settings
from retrieval_lens.rag.strategies.base import Strategy, hidden_at_of
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing.limits import check_context


def answer(
    model: Any,
    example: RetrievalExample,
    strategy: Any,
    settings: Any = PLAIN,
    *,
    seed: Any = 0,
    engine: str = "auto",
) -> Answer:
    """Answer one question from its context, shown where `strategy` says.

    Source: Algorithms 1 and 2 of [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        model: A bridge with a tokenizer.
        example: The prompt, with `meta["document_spans"]` or with a `context` that stands in it.
        strategy: Such as `Dynamic(probe, k=5)`.
        settings: Of the loop.
        seed: Of strategies that draw.
        engine: As in `RetrievalTracer.trace`.

    Raises:
        InputError: No context, evidence outside it, a strategy of another model or made on this
            example, a threshold chosen on it, or a number out of range.
        ContextLengthError: Prompt and answer do not fit the model's context.
        UnsupportedModelError: Context cannot be hidden from this model.
        NumericalError: NaN in logits or attention.

    Examples:
        ```python
        from retrieval_lens.rag import OracleDynamic, Settings, answer

        question = rl.tasks.hotpotqa.own(model.tokenizer, n_paragraphs=2, limit=1)[0]
        found = answer(model, question, OracleDynamic(k=5), Settings(max_tokens=8))
        found.text, found.metrics["evidence_recall"]
        ```
    """
    (only,) = _answers(model, example, [strategy], settings, seed, engine)
    return only


def answer_many(
    model: Any,
    examples: Iterable[RetrievalExample],
    strategies: Mapping[str, Any],
    settings: Any = PLAIN,
    *,
    seed: Any = 0,
    engine: str = "auto",
    progress: bool = True,
) -> dict[str, list[Answer]]:
    """Answer every question with every strategy; the whole context is prefilled once a question.

    Args:
        model: A bridge with a tokenizer.
        examples: The prompts.
        strategies: By a name of yours.
        settings: Of the loop.
        seed: Of strategies that draw.
        engine: As in `RetrievalTracer.trace`.
        progress: Show a progress bar when it takes more than two seconds.

    Returns:
        For each name the answers, in the order of the examples.

    Raises:
        InputError: As in `answer`, or no strategy; nothing is run before all is checked.
        ContextLengthError: As in `answer`.
        UnsupportedModelError: As in `answer`.
        NumericalError: As in `answer`.
    """
    if not strategies:
        raise InputError("answer_many got no strategies; give at least one, by name")
    examples, found = list(examples), {name: [] for name in strategies}
    for example in examples:
        require_answerable(model, example, list(strategies.values()), settings, seed)
    with progress_bar("answering", len(examples), progress) as advance:
        for example in examples:
            every = _answers(model, example, list(strategies.values()), settings, seed, engine)
            for name, one in zip(strategies, every, strict=True):
                found[name].append(one)
            advance()
    return found


def _answers(
    model: Any,
    example: RetrievalExample,
    strategies: Sequence[Any],
    settings: Any,
    seed: Any,
    engine: str,
) -> list[Answer]:
    """One answer a strategy, all on one reader."""
    require_answerable(model, example, strategies, settings, seed)
    with ModelReader(model, example, hidden_at_of(strategies), engine) as reader:
        return [run(reader, example, strategy, settings, seed) for strategy in strategies]


def require_answerable(
    model: Any, example: RetrievalExample, strategies: Sequence[Any], settings: Any, seed: Any
) -> None:
    """Refuse what cannot be answered, before the model runs.

    Raises:
        InputError: As in `answer`.
        ContextLengthError: As in `answer`.
    """
    for strategy in strategies:
        if not isinstance(strategy, Strategy):
            raise InputError(f"a strategy is one of rag.STRATEGIES, with parameters: {strategy!r}")
    if not isinstance(settings, Settings):
        raise InputError(f"settings is a rag.Settings(…); got {settings!r}")
    whole("seed", seed, 0)
    settings.require_unseen(example.id)
    check_context(model, example, settings.max_tokens)
    context_of(example, model.tokenizer)
    for strategy in strategies:
        strategy.require(model, example)
