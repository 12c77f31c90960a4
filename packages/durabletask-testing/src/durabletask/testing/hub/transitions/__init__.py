"""What every command does to the state of a hub. No I/O, no clock, no event loop.

One module per concern; entities (protocol section 11) have their own, ``entities``.
"""

__all__: list[str] = []
