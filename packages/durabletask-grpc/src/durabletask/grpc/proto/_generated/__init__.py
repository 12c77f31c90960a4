"""Generated code. Private: nothing outside `durabletask.grpc` may import it."""
