"""Which rule took which time, by which of its patterns, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from powdo.worktime.activity import Focus, Slice
from powdo.worktime.rules import Rule
from powdo.worktime.timesheets import Block, Leftover, Sheet


class Stretch(NamedTuple):
    """Time that one *rule* took (None is none): *active* of it in microseconds, *why*, and its *end*.

    *fate* is the block or leftover that most of it is in.
    """

    begin: int
    end: int
    active: int
    rule: Rule | None
    why: str
    fate: Block | Leftover | None


def reason(rule: Rule | None, focus: Focus) -> str:
    """Return by what *rule* took *focus*, or what there was to take where no rule did."""
    if focus.manual is not None:
        return f"stated by hand: {focus.manual.project}"
    if rule is None:
        texts = [
            f"{name} '{text}'" for name, text in zip(focus._fields[:-1], focus[:-1], strict=True) if text
        ]
        return ", ".join(texts) or "a window without a name"
    texts = [f"{name} '{getattr(focus, name)}'" for name, _ in rule.conditions]
    return ", ".join(["always active"] * rule.always_active + texts) or "it has no condition"


def stretches(
    slices: Iterable[Slice], find: Callable[[Slice], Rule | None], sheet: Sheet, gap: int
) -> Iterator[Stretch]:
    """Yield what each rule took of sorted *slices*, joined over pauses of up to *gap*."""
    run: list[Slice] = []
    taken: Rule | None = None
    for item in slices:
        rule = find(item)
        if run and (rule is not taken or item.begin - run[-1].end > gap):
            yield _stretch(run, taken, sheet)
            run = []
        run.append(item)
        taken = rule
    if run:
        yield _stretch(run, taken, sheet)


def _stretch(run: Sequence[Slice], rule: Rule | None, sheet: Sheet) -> Stretch:
    reasons: Counter[str] = Counter()
    for item in run:
        reasons[reason(rule, item.focus)] += item.end - item.begin
    why, _ = max(reasons.items(), key=lambda pair: pair[1])
    if len(reasons) > 1:
        why += f", and {len(reasons) - 1} more"
    begin, end = run[0].begin, run[-1].end
    active = sum(item.end - item.begin for item in run)
    return Stretch(begin, end, active, rule, why, _fate(begin, end, sheet))


def _fate(begin: int, end: int, sheet: Sheet) -> Block | Leftover | None:
    most = 0
    best: Block | Leftover | None = None
    items: list[Block | Leftover] = [*sheet.blocks, *sheet.leftovers]
    for item in items:
        shared = min(item.end, end) - max(item.begin, begin)
        if shared > most:
            most, best = shared, item
    return best
