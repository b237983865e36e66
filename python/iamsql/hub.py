"""gevent and eventlet: whether one of them replaced the sockets, and how to wait without stopping its hub.

A call into the engine waits in the operating system, which would stop every greenlet of the thread; so it is made on
a real thread of the hub's while the others go on.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def replaces_sockets() -> bool:
    """Whether `socket.socket` is gevent's or eventlet's, which a driver should then get."""
    return _gevent() or _eventlet()


def wait_for(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `function` returns, waited for in the way of whoever replaced the sockets."""
    if _gevent():
        import gevent

        return gevent.get_hub().threadpool.apply(function, args, kwargs)
    if _eventlet():
        from eventlet import tpool

        return tpool.execute(function, *args, **kwargs)
    return function(*args, **kwargs)


def _gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def _eventlet() -> bool:
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("socket"))
