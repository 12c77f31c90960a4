"""Azure Durable Task Scheduler: connection strings, Azure credentials, and a doctor for both.

With this package installed, ``DurableTaskClient("Endpoint=https://...;Authentication=DefaultAzure", hub)``
works. ``python -m durabletask.azuremanaged check`` finds the reason when it does not.
"""

from .blobs import BlobStorage
from .factories import DurableTaskSchedulerClient, DurableTaskSchedulerWorker, scheduler_transport
from .token_cache import AzureCredentialProvider

__all__ = [
    "AzureCredentialProvider",
    "BlobStorage",
    "DurableTaskSchedulerClient",
    "DurableTaskSchedulerWorker",
    "scheduler_transport",
]
