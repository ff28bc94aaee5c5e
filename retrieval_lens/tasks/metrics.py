"""How right a response is: the paper's two measures and two that have no floor."""

from functools import cache

from retrieval_lens.tasks.example import RetrievalExample
from retrieval_lens.tasks.qa_metrics import exact_match, extract_answer, f1, holds_answer


class _Characters:
    """Every character is a token: ROUGE-L recall is then the share of the answer's characters."""

    def tokenize(self, text: str) -> list[str]:
        return list(text)


@cache
def _scorers():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"]), RougeScorer(["rougeL"], tokenizer=_Characters())


def response_metrics(example: RetrievalExample, response: str, truncated: bool) -> dict[str, float]:
    """Measures of one response; what there is no answer or evidence text for is left out.

    | metric | range | meaning |
    |---|---|---|
    | `exact` | 0 or 1 | the whole answer stands in the response (the paper's accuracy) |
    | `answer_chars` | 0 to 1 | longest common subsequence with the answer, over its characters |
    | `rouge_l` | 0 to 1 | ROUGE-L F1 against the evidence (the needle sentence), no stemming |
    | `truncated` | 0 or 1 | the response ran into the token limit |
    | `em`, `f1` | 0 to 1 | multi-hop questions: official measures of the extracted answer |

    A wholly wrong UUID in the right sentence still has ROUGE-L 4/9. For a multi-hop question
    `exact` compares whole words after normalisation, since "no" stands in "know" as well; of
    several accepted answers the best counts.

    Args:
        example: Holds the answer and the evidence.
        response: The generated text, special tokens removed.
        truncated: Whether generation ran into its limit.
    """
    by_word, by_character = _scorers()
    metrics: dict[str, float] = {}
    if example.answer:
        metrics["exact"] = float(example.answer in response)
        shared = by_character.score(example.answer, response)["rougeL"]
        metrics["answer_chars"] = float(shared.recall)
    if example.evidence_text:
        shared = by_word.score(example.evidence_text, response)["rougeL"]
        metrics["rouge_l"] = float(shared.fmeasure)
    if example.meta.get("task") == "multihop" and example.answer:
        metrics |= _of_answers([example.answer, *example.meta.get("answer_aliases", [])], response)
    metrics["truncated"] = float(truncated)
    return metrics


def _of_answers(accepted: list[str], response: str) -> dict[str, float]:
    given = extract_answer(response)
    return {
        "exact": max(float(holds_answer(response, answer)) for answer in accepted),
        "em": max(exact_match(given, answer) for answer in accepted),
        "f1": max(f1(given, answer) for answer in accepted),
    }
