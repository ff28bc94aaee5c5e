"""The axes of every tensor, and names for the shapes that recur.

| axis | meaning |
|---|---|
| `batch` | one prompt of several that run together |
| `pos` | a token position in prompt + response, from 0 |
| `query_pos`, `key_pos` | the position that looks, the position that is looked at |
| `step` | one greedy decode step, from 0; step 0 looks from the last prompt token |
| `row` | one attention row: a batch entry at one step, or one query position |
| `layer`, `head` | attention layer and query head, from 0 |
| `evidence` | one evidence token |
| `m` | rank among the most attended positions, largest first |
| `channel` | one number that a step score keeps of each attention row |
| `d_model`, `d_head` | width of the residual stream, of one head |
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor

Prompts = Sequence[Int[Tensor, " _"]]  # each of its own length
TokenIds = Int[Tensor, " pos"]
EvidencePositions = Int[Tensor, " evidence"]
StepScores = Float[Tensor, "step layer head"]
PositionScores = Float[Tensor, "pos layer head"]
ActiveHeads = Bool[Tensor, "step layer head"]
HiddenStates = Float[Tensor, "step d_model"]
TopPositions = Int[Tensor, "step layer head m"]
TopWeights = Float[Tensor, "step layer head m"]
