"""Collects slowly: `python -m tests.corpora.killed FOLDER`, to be killed on the way."""

import sys
import time

import retrieval_lens as rl
from tests.ablation.test_families import example
from tests.tiny_models import tiny_bridge

MODEL, STEPS = "llama-gqa", 5


def examples(n):
    """The first `n` tiny examples."""
    return [example(seed) for seed in range(n)]


if __name__ == "__main__":
    from retrieval_lens.corpora import collect

    save = rl.Trace.save

    def slowly(self, path):
        time.sleep(0.2)
        return save(self, path)

    rl.Trace.save = slowly
    bridge = tiny_bridge(MODEL)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    collect(bridge, examples(6), sys.argv[1], max_new_tokens=STEPS, batch_size=1)
