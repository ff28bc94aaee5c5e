"""Folders of every kind whose numbers are known; no model but for the corpus."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import retrieval_lens as rl
from retrieval_lens.experiments import NeedleGrid, QuestionGrid, RagGrid
from retrieval_lens.experiments.ablation_grid import DETECT
from retrieval_lens.rag import Answer, Round
from tests.experiments.fake_worker import MODEL, SHAPE, FakeWorker, run_fake

HOSTILE = 'Who wrote <script>window.hacked=1</script> & "it", and in which town is it kept?'
TITLE = "<i>title</i> </style><script>window.hacked=1</script>"
COSTS = {"none": 0.0, "dynamic": -2.0, "static_by_count": -1.5, "time_shifted": -2.0}
NEEDLES = NeedleGrid(
    models="fake",
    n_tokens=(100, 200),
    depths=(0.0, 0.5),
    seeds=(0, 1, 2),
    detection_seeds=(9,),
    conditions=("none", "dynamic", "static_by_count", "static", "random", "dynamic_k"),
    k=(0, 2),
    random_draws=2,
    static_k=5,
)


@dataclass
class Worker(FakeWorker):
    """A fake worker that knows its model's size, weights and score."""

    def __call__(self, cell: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        found = super().__call__(cell, inputs)
        found["model"] |= {
            "n_layers": SHAPE[0],
            "n_heads": SHAPE[1],
            "device": "cpu",
            "weights_sha256": "c0ffee",
        }
        if cell.stage == DETECT:
            found["score"] = {"class": "Reasoning", "n_sink": 4}
        return found


@dataclass
class QuestionWorker(Worker):
    """Plants the effects of `COSTS`, the same for all questions but for what all have in common."""

    def __call__(self, cell: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        found = super().__call__(cell, inputs)
        number = cell.where["question"]
        found["details"] = {"question_id": f"q{number}", "type": "x", "depth": 0.5, "n_tokens": 9}
        for label, one in found.get("effects", {}).items():
            one["delta_log_prob"] = [COSTS[label] - number / 8] * 3 if COSTS[label] else [0.0] * 3
        return found


def needles(path: Path) -> Path:
    """A finished grid of needles."""
    run_fake(path, Worker(NEEDLES), NEEDLES)
    return path


def question_file(path: Path) -> Path:
    """Eight questions; the first would like to be HTML."""
    records = [
        {
            "_id": f"id{number}",
            "question": HOSTILE if number == 0 else f"Who wrote book {number}?",
            "answer": "Ann",
            "type": "bridge",
            "level": "easy",
            "context": [["Books", [f"Ann wrote book {number}."]], ["Else", ["Nothing."]]],
            "supporting_facts": [["Books", 0]],
        }
        for number in range(8)
    ]
    path.write_text(json.dumps(records), "utf-8")
    return path


def questions(path: Path) -> Path:
    """A finished grid of questions of a file."""
    grid = QuestionGrid(
        models="fake",
        source=str(question_file(path.with_name("questions.json"))),
        questions=range(6),
        detection_questions=(6, 7),
        n_paragraphs=(1, 2),
        conditions=tuple(COSTS),
        static_k=5,
    )
    run_fake(path, QuestionWorker(grid), grid)
    return path


ANSWERS = RagGrid(
    models="fake",
    questions=range(6),
    n_paragraphs=2,
    strategies=("no_context", "oracle_dynamic", "fixed_random"),
    k=(5, 10),
    random_draws=2,
)


class Answering:
    """Recall 0 without context, 3/4 with the oracle, 1/4 at random; F1 is the number over eight."""

    def __call__(self, cell: Any, inputs: Any) -> dict[str, Any]:
        number = cell.where["question"]
        details = {"question_id": f"q{number}", "type": "x", "depth": 0.5, "n_tokens": 50}
        timed = {
            variant.label: {"seconds": 1.0, "answer": self.answer(number, variant).as_json()}
            for variant in ANSWERS.stage_variants(cell.stage)
        }
        known = {"example_id": f"own-{number}", "prompt": f"p{number}", "details": details}
        return {"model": dict(MODEL), **known, "answers": timed, "prefill_seconds": 1.0}

    def answer(self, number: int, variant: Any) -> Answer:
        recall = {"no_context": 0.0, "oracle_dynamic": 0.75, "fixed_random": 0.25}
        retrieves = variant.condition != "no_context"
        metrics = {
            "em": float(number == 0),
            "f1": number / 8,
            "evidence_recall": recall[variant.condition],
            "revealed_share": 0.25 * retrieves,
            "n_retrievals": float(retrieves),
            "n_rounds": 1.0,
        }
        hit = {"hit": "Ann", "windows": ((10, 15),), "rewrite": "Ann.", "rewrite_tokens": (3,)}
        one = Round("It", (1, 2), (), "", (), False, **(hit if retrieves else {}))
        strategy = {"name": variant.condition}
        facts = {"context": [4, 54], "evidence": [12, 13], "strategy": strategy}
        return Answer(f"<b>{variant.label}</b>", (3,), metrics, (one,), "end_of_text", facts)


def answers(path: Path) -> Path:
    """A finished grid of answers."""
    run_fake(path, Answering(), ANSWERS)
    return path


def corpus(model: Any, path: Path) -> Path:
    """Four needles of a real model."""
    examples = rl.tasks.needle_examples(
        model.tokenizer, 4, n_tokens=[40], depths=[0.25], haystacks=["coast", "essays"]
    )
    rl.collect(model, examples, path, max_new_tokens=6, progress=False)
    return path
