"""The explorer as a Jupyter widget: what is chosen there is known here, and the other way round.

1. The trace goes over once, as a description and one buffer.
2. Each field of the choice is a trait of its own, checked before it is taken.
3. `selection` is all of them; it changes when one of them does, and setting it sets them together.
4. Who reads `selection` or hears of it gets a copy: what is done to it changes nothing here.
"""

from typing import Any

import anywidget
import traitlets as t
from traitlets.utils.bunch import Bunch

from retrieval_lens.viz.explorer import assets
from retrieval_lens.viz.explorer.choice import FIELDS, Limits


class Choice(t.TraitType[dict[str, Any], Any]):
    """A dict that is kept: reading it gives a copy, so that a changed one is seen as another."""

    def get(self, obj: t.HasTraits, cls: Any = None) -> dict[str, Any]:
        """A copy of the value."""
        return dict(super().get(obj, cls) or {})


class Explorer(anywidget.AnyWidget):
    """What `explore` returns; it shows itself at the end of a notebook cell.

    Attributes:
        step: The chosen decode step.
        head: The chosen (layer, head), or None for all heads active at the step.
        position: The chosen prompt position, or None.
        score: The score that the map shows.
        sort: How the rows are sorted: `variance`, `mean` or `layer`.
        layers: The layers shown, a tuple, or None for all.
        selection: All of these as a dict of your own: change it and set it again.

    All can be set and observed. A value that the trace does not have raises `InputError`, and the
    choice stays what it was.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> from retrieval_lens.viz.explorer.explore import explore
        >>> widget = explore(demo_trace())
        >>> widget.head = (2, 1)
        >>> widget.selection["head"]
        (2, 1)
        >>> widget.step = 6
        Traceback (most recent call last):
        ...
        retrieval_lens.viz.explorer.choice.ChoiceError: step=6 of 6 steps; wanted 0 to 5
    """

    _esm = assets.script()
    _css = assets.style()
    _meta = t.Dict().tag(sync=True)
    _data = t.Bytes().tag(sync=True)
    # `Any` would let None through unchecked
    step = t.TraitType(0).tag(sync=True)
    head = t.Any(None).tag(sync=True)
    position = t.Any(None).tag(sync=True)
    score = t.TraitType("").tag(sync=True)
    sort = t.TraitType("variance").tag(sync=True)
    layers = t.Any(None).tag(sync=True)
    selection = Choice({})

    def __init__(self, meta: dict[str, Any], data: bytes, score: str) -> None:
        self._spreading = False
        self._limits = Limits(
            n_steps=max(trace["n_steps"] for trace in meta["traces"]),
            n_layers=meta["n_layers"],
            n_heads=meta["n_heads"],
            n_prompt=len(meta["prompt"]),
            scores=tuple(meta["scores"]),
        )
        super().__init__(_meta=meta, _data=data, score=score)
        self.selection = self.chosen()

    def __repr__(self) -> str:
        return f"Explorer({', '.join(f'{name}={getattr(self, name)!r}' for name in FIELDS)})"

    def chosen(self) -> dict[str, Any]:
        """The fields of the selection, as they are now."""
        return {name: getattr(self, name) for name in FIELDS}

    def notify_change(self, change: Any) -> None:
        """Tell the observers; a selection goes out as a copy."""
        if change["name"] == "selection":
            change = Bunch(change, old=dict(change["old"]), new=dict(change["new"]))
        super().notify_change(change)

    @t.validate(*FIELDS)
    def _check(self, proposal: Any) -> Any:
        return self._limits.check(proposal["trait"].name, proposal["value"])

    @t.validate("selection")
    def _check_all(self, proposal: Any) -> dict[str, Any]:
        return self._limits.merged(self.chosen(), proposal["value"])

    @t.observe(*FIELDS)
    def _gather(self, _change: Any) -> None:
        if not self._spreading:
            self.selection = self.chosen()

    @t.observe("selection")
    def _spread(self, change: Any) -> None:
        self._spreading = True
        try:
            with self.hold_sync():
                for name, value in self.selection.items():
                    setattr(self, name, value)
        finally:
            self._spreading = False
            # an observer may have set a field meanwhile: that counts, for those told later too
            self.selection = self.chosen()
            change["new"] = self.selection
