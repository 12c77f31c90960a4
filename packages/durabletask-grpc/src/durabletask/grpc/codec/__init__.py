"""Core's types to protobuf and back: pure functions, one module per concern."""
