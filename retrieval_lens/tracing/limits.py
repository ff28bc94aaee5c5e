"""What a model cannot take: prompts beyond its context, and Longrope's border."""

from typing import Any

from retrieval_lens.errors import ContextLengthError, InputError
from retrieval_lens.models import context_length
from retrieval_lens.tasks import RetrievalExample


def check_context(bridge: Any, example: Any, max_new_tokens: int) -> None:
    """Refuse an example that does not fit.

    Raises:
        ContextLengthError: Prompt and response are longer than the context, or the response would
            cross the length at which Longrope changes its frequencies (cached keys would then
            belong to other frequencies than new ones).
        InputError: No example, `max_new_tokens` below 1, or a token id outside the model's
            vocabulary.
    """
    if not isinstance(example, RetrievalExample):
        raise InputError(
            f"wanted a RetrievalExample, got {type(example).__name__}; RetrievalExample.from_text "
            "makes one of a prompt and its evidence"
        )
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be at least 1; got {max_new_tokens}")
    n_prompt, limit = len(example.token_ids), context_length(bridge)
    needed = n_prompt + max_new_tokens
    if limit is not None and needed > limit:
        cure = "shorten the prompt"
        if limit > n_prompt:
            cure += f", or set max_new_tokens to at most {limit - n_prompt}"
        raise ContextLengthError(
            f"example {example.id!r} has {n_prompt} tokens and may grow by {max_new_tokens}, but "
            f"the model's context is {limit}; {cure}"
        )
    border = _longrope_border(bridge)
    if border is not None and n_prompt - 1 <= border < needed:
        raise ContextLengthError(
            f"example {example.id!r} would cross position {border}, where this model's Longrope "
            f"changes its frequencies and cached keys no longer fit; keep prompt and response "
            f"below it, or the prompt above it"
        )
    n_vocab = bridge.original_model.get_input_embeddings().weight.shape[0]
    if int(example.token_ids.max()) >= n_vocab or int(example.token_ids.min()) < 0:
        raise InputError(
            f"example {example.id!r} holds token ids outside 0..{n_vocab - 1}: it was made with "
            f"another model's tokenizer"
        )


def is_longrope(bridge: Any) -> bool:
    """Whether rotary frequencies depend on the length of the sequence."""
    return _longrope_border(bridge) is not None


def _longrope_border(bridge: Any) -> int | None:
    config = bridge.original_model.config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return None
    border = rope.get("original_max_position_embeddings")
    return int(border or config.original_max_position_embeddings)
