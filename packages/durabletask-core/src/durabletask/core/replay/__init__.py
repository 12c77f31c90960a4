"""The replay engine: from history events to actions, without sockets, clocks, threads or an event loop.

``session`` has the entry point and ``options`` what it is given. This package imports neither, so that a transport
can use ``compact`` without loading the engine.
"""

__all__: list[str] = []
