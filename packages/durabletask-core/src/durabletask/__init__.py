"""Durable orchestrations in Python."""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)
