"""Loading models, and all that is known of a model: names, checks, context, provenance."""

from retrieval_lens.models.attached import clear_kept_patterns, user_hooks
from retrieval_lens.models.checkpoints import checkpoint_folder
from retrieval_lens.models.checks import prove_attention
from retrieval_lens.models.hook_names import attention_layers, layer_of
from retrieval_lens.models.info import (
    context_length,
    eos_token_ids,
    model_info,
    weights_fingerprint,
)
from retrieval_lens.models.loading import load_model
from retrieval_lens.models.named import (
    NamedCheckpoint,
    cache_folder,
    checkpoint_names,
    named_checkpoint,
    register_checkpoint,
)

__all__ = [
    "NamedCheckpoint",
    "attention_layers",
    "cache_folder",
    "checkpoint_folder",
    "checkpoint_names",
    "clear_kept_patterns",
    "context_length",
    "eos_token_ids",
    "layer_of",
    "load_model",
    "model_info",
    "named_checkpoint",
    "prove_attention",
    "register_checkpoint",
    "user_hooks",
    "weights_fingerprint",
]
