"""The protocol: our `.proto` text, the code made from it, and the command that makes it."""
