"""Recurring orchestrations. A schedule is an entity that starts runs and signals itself at the time of the next one.

* ``timing``: when a schedule is due.
* ``state``: what the entity stores.
* ``configuration``: arguments and operation inputs, checked and made into a configuration.
* ``transitions``: what each operation does to the state. These four modules are pure.
* ``serving``: the entity and the helper orchestrations that every worker runs.
* ``client``: ``client.schedules``.
"""

__all__: list[str] = []
