"""Where processes run: a pair that takes turns is measured on one core.

On two, which of them the scheduler picks, and how long an idle one takes to wake, decide more than the code does.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager, nullcontext


def confined(one_core: bool) -> Context:
    """Confines what is started meanwhile to one core, if so asked; what starts later inherits from its parent."""
    return _one_core() if one_core else nullcontext()


@contextmanager
def _one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
