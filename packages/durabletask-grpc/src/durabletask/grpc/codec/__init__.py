"""Core's types to protobuf and back: pure functions, one module per concern."""

__all__: list[str] = []
