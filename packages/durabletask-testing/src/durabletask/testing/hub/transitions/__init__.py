"""What every command does to the state of a hub. No I/O, no clock, no event loop.

One module per concern. Entities (protocol section 11) have four: ``entities`` for what clients ask, ``entity_messages``
for what orchestrators and entities send, ``locks``, and ``entity_batches`` for what workers run.
"""

__all__: list[str] = []
