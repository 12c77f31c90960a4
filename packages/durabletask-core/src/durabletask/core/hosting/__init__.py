"""What keeps a worker going: fetch, dispatch, complete; cached sessions, limits, back-off."""

__all__: list[str] = []
