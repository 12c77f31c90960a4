"""Conversion between core's types and protobuf: pure functions, one module per concern."""

__all__: list[str] = []
