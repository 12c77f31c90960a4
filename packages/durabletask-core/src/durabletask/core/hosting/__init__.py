"""The running of a worker: fetch, dispatch, complete; cached sessions, limits, back-off."""

__all__: list[str] = []
