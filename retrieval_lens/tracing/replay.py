"""Run a step again from the first layer in which something changed.

1. While a step runs, the output of every block is kept (a reference, no copy).
2. When the step is run again with an edit, the blocks below the first edited layer give that output
   again without computing it: nothing in them can have changed.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


class Replay:
    """The outputs of the blocks in the last step, and a way to give them again.

    Args:
        blocks: The blocks of the model, in order.
    """

    def __init__(self, blocks: Sequence[nn.Module]):
        self.blocks: list[nn.Module] = list(blocks)
        self.outputs: list[Any] = [None] * len(self.blocks)
        self.recording: bool = False  # not in a prefill, whose outputs are long

    def attach(self, stack: ExitStack) -> None:
        """Keep outputs from now on, until `stack` closes."""
        for index, block in enumerate(self.blocks):
            stack.callback(block.register_forward_hook(self._keeper(index)).remove)

    def _keeper(self, index: int) -> Any:
        def keep(module: Any, args: Any, output: Any) -> None:
            if self.recording:
                self.outputs[index] = output

        return keep

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the outputs of the passes within the block."""
        self.recording = True
        try:
            yield
        finally:
            self.recording = False

    @contextmanager
    def replaying(self, n_blocks: int, n_rows: int) -> Iterator[None]:
        """Within the block the first `n_blocks` give their kept output for the first `n_rows`.

        One kept row stands for all rows.
        """
        replayed = self.blocks[:n_blocks]
        before = [vars(block).get("forward") for block in replayed]
        for block, output in zip(replayed, self.outputs, strict=False):
            block.forward = _giver(output, n_rows)
        try:
            yield
        finally:
            for block, forward in zip(replayed, before, strict=True):
                del block.forward
                if forward is not None:
                    block.forward = forward


def _giver(output: Any, n_rows: int) -> Any:
    def give(*args: Any, **kwargs: Any) -> Any:
        if isinstance(output, tuple):
            return (_rows(output[0], n_rows), *output[1:])
        return _rows(output, n_rows)

    return give


def _rows(value: Tensor, n_rows: int) -> Tensor:
    return value.expand(n_rows, *value.shape[1:]) if len(value) == 1 else value[:n_rows]
