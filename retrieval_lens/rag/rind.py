"""RIND: which word of a draft shows that the model lacks something (DRAGIN, arXiv 2403.10081).

1. Sub-word tokens are merged to words (`words`), words to sentences (`sentences`).
2. Entropy of a word: mean over its tokens of the entropy, in nats, of the distribution that each
   token was drawn from.
3. Attention of a token: per head of the last layer the largest weight that any query row gives it,
   its own row included, then the mean over heads. Attention of a word: the sum over its tokens,
   divided by the sum over the words of its sentence.
4. Score of a word = entropy x attention x number of words in its sentence, or the product of those
   of them that `factors` names: a word of average attention scores its entropy.
5. A word is a hit if its score is above the threshold and it carries content (`content_words`).

The rows come from the caller: of the draft alone (`attention="isolated"`) or behind the prompt
(`"in_context"`, the columns of the draft).

DRAGIN's code differs in these points. Its filter picks the words of the query and stops no hit, so
`words="all"` gives its decision. Its sentences come from spaCy. An end-of-sequence token counts as
part of the last word. 1e-10 is added inside the logarithm.
"""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.errors import InputError, NumericalError, UnknownNameError
from retrieval_lens.rag.content_words import FILTERS, require_spacy
from retrieval_lens.rag.sentences import sentence_spans
from retrieval_lens.rag.words import decoded, words_of

FACTORS = ("entropy", "attention", "n_words")
ROUNDING = 1e-3  # of half-precision attention and entropy

AttentionRows = Literal["isolated", "in_context"]
ContentFilter = Literal["stop_words", "spacy", "all"]


@dataclass(frozen=True)
class RIND:
    """How a draft is judged.

    Attributes:
        threshold: A score above it is a hit; from 0. A large one, such as 1e9, never fires.
        attention: Where the rows come from: `isolated` or `in_context`. Recorded; the caller of
            `measure` supplies them.
        words: Which words may fire: `stop_words`, `spacy` or `all`.
        factors: What is multiplied: one or more of `entropy`, `attention` and `n_words`.

    Raises:
        InputError: A threshold that is no finite number from 0, no factor or one twice, or spaCy
            asked for and missing.
        UnknownNameError: No such attention, words or factor.

    Examples:
        >>> RIND(threshold=1.2).factors
        ('entropy', 'attention', 'n_words')
    """

    threshold: Any = 1.0
    attention: Any = "isolated"
    words: Any = "stop_words"
    factors: Any = FACTORS

    def __post_init__(self) -> None:
        value = self.threshold
        number = isinstance(value, float | int) and not isinstance(value, bool)
        if not (number and isfinite(value) and value >= 0):
            raise InputError(
                f"threshold is a finite number from 0 (1e9 never fires); got {value!r}"
            )
        for name, known in (("attention", AttentionRows.__args__), ("words", tuple(FILTERS))):
            if getattr(self, name) not in known:
                raise UnknownNameError(
                    f"no {name} {getattr(self, name)!r}; known: {', '.join(known)}"
                )
        object.__setattr__(self, "factors", _factors(self.factors))
        if self.words == "spacy":
            require_spacy()

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self) | {"factors": list(self.factors)}

    def measure(
        self,
        tokenizer: Any,
        tokens: Int[Tensor, " _"],
        entropy: Float[Tensor, " _"],
        attention: Float[Tensor, "_ _ _"],
    ) -> pd.DataFrame:
        """Every word of a draft with each factor of its score.

        Args:
            tokenizer: Of the model.
            tokens: The draft, `[token]`; special tokens belong to no word.
            entropy: In nats, `[token]`: of the distribution that each token was drawn from.
            attention: Rows of the last layer, `[head, token, token]`, queries before keys.

        Returns:
            One row a word: `word`, `start` and `end` (its tokens, half-open), `sentence` (from 0),
            `entropy` (nats), `attention` (sums to 1 over a sentence), `n_words` of the sentence,
            `score`, `content` and `hit`. `attrs` holds the settings.

        Raises:
            InputError: Shapes that do not fit the tokens, a negative entropy, or rows that are not
                causal attention.
            NumericalError: NaN or infinity, or a sentence without attention.
        """
        _check(len(tokens), entropy, attention)
        text, spans = decoded(tokenizer, tokens)
        words = words_of(text, spans)
        begins = [start for start, _ in sentence_spans(text)]
        sentence = np.searchsorted(begins, [word.at for word in words], side="right") - 1
        weights = attention.detach().cpu().double().amax(1).mean(0).numpy()
        nats = entropy.detach().cpu().double().numpy()
        mean = np.array([nats[word.start : word.end].mean() for word in words], np.float64)
        total = np.array([weights[word.start : word.end].sum() for word in words], np.float64)
        n_words = np.bincount(sentence, minlength=1)[sentence]
        share = total / _sums(total, sentence)
        known = {"entropy": mean, "attention": share, "n_words": n_words}
        score = np.prod([known[name] for name in self.factors], axis=0, dtype=np.float64)
        content = np.array(FILTERS[self.words](text, words), dtype=bool)
        frame = pd.DataFrame(
            {
                "word": pd.Series([word.text for word in words], dtype=object),
                "start": np.array([word.start for word in words], dtype=np.int64),
                "end": np.array([word.end for word in words], dtype=np.int64),
                "sentence": sentence,
                **known,
                "score": score,
                "content": content,
                "hit": (score > self.threshold) & content,
            }
        )
        frame.attrs.update(asdict(self))
        return frame


def first_hit(frame: pd.DataFrame) -> int | None:
    """Row of the first hit in what `RIND.measure` returns, or None.

    Examples:
        >>> first_hit(pd.DataFrame({"hit": [False, True, True]}))
        1
    """
    hits = np.flatnonzero(frame["hit"])
    return int(hits[0]) if len(hits) else None


def entropy_of(logits: Float[Tensor, "step vocab"]) -> Float[Tensor, " step"]:
    """Entropy in nats, in float64, of the distribution that logits give.

    Args:
        logits: One row a step; -inf is a token that cannot come.

    Raises:
        NumericalError: NaN or +inf, or a row of -inf alone.

    Examples:
        >>> round(float(entropy_of(torch.tensor([[0.0, 0.0, -torch.inf]]))), 4)
        0.6931
    """
    wide = logits.detach().double()
    bad = wide.isnan().any(-1) | (wide == torch.inf).any(-1) | (wide == -torch.inf).all(-1)
    if bad.any():
        step = int(bad.nonzero()[0])
        raise NumericalError(f"the logits of step {step} give no distribution: NaN or infinite")
    return torch.special.entr(wide.softmax(-1)).sum(-1)


def _factors(given: Any) -> tuple[str, ...]:
    """What is multiplied, in a fixed order."""
    names = (given,) if isinstance(given, str) else tuple(given)
    unknown = [name for name in names if name not in FACTORS]
    if unknown:
        raise UnknownNameError(f"no factor {unknown[0]!r}; known: {', '.join(FACTORS)}")
    if not names or len(set(names)) < len(names):
        raise InputError(f"factors names each of {FACTORS} once at most, and one at least")
    return tuple(name for name in FACTORS if name in names)


def _sums(total: Float[np.ndarray, " word"], sentence: Int[np.ndarray, " word"]) -> Any:
    """For each word the attention of its whole sentence."""
    sums = np.bincount(sentence, weights=total, minlength=1)[sentence]
    if (sums <= 0).any():
        raise NumericalError(
            f"no token of sentence {sentence[sums <= 0][0]} has any attention, so there is no "
            f"share of it; wanted rows with the draft's own positions as keys"
        )
    return sums


def _check(n_tokens: int, entropy: Tensor, attention: Tensor) -> None:
    """Refuse what would give a wrong number."""
    if len(entropy) != n_tokens or tuple(attention.shape[1:]) != (n_tokens, n_tokens):
        raise InputError(
            f"{n_tokens} tokens need entropy [{n_tokens}] and attention [head, {n_tokens}, "
            f"{n_tokens}]; got {tuple(entropy.shape)} and {tuple(attention.shape)}"
        )
    if len(attention) == 0:
        raise InputError(
            "attention has no head; wanted the rows of the last layer, [head, query, key]"
        )
    if not (entropy.isfinite().all() and attention.isfinite().all()):
        raise NumericalError("entropy or attention of the draft holds NaN or infinity")
    if (entropy < -ROUNDING).any():
        raise InputError(f"entropy is at least 0 nats; got {float(entropy.min())}")
    if (attention < 0).any() or (attention.sum(-1) > 1 + 10 * ROUNDING).any():
        raise InputError("attention is after the softmax: weights from 0, a row sums to 1 at most")
    if (attention.triu(diagonal=1) > 0).any():
        raise InputError(
            "a query looks at a later key; wanted causal attention as [head, query, key], not "
            "[head, key, query]"
        )
