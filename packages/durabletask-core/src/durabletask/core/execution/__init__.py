"""Running activities and entity operations: user code in, results for the hub out."""

__all__: list[str] = []
