"""The replay engine: from history events to actions, without sockets, clocks, threads or an event loop.

``session`` has the entry point and ``options`` what it is given. This package imports neither, so that a transport
can use ``compact`` without loading the engine.

Layers; a module imports from the lines above its own or from its own line, for types too::

    locations, annotations, observed, options, compact
    mailbox, execution, scheduler       state of the execution; waits for events; the queue of user code
    open_work, sections                 pending actions, open tasks, the critical section
    sink                                all that contexts and tasks may do
    tasks, misuse                       the base of all tasks; words for mistakes
    timers, calls, events, entities     the kinds of tasks
    fibers, groups                      user code as tasks; ``task_all`` and ``task_any``
    entity_actions, context, completion what users call; how an execution ends
    run                                 the parts of a session, wired together
    matching, start, transitions        what each event does
    fast_path, rewind, session          a whole past, new events, the result
"""

__all__: list[str] = []
