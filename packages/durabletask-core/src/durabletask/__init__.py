"""Durable orchestrations in Python: the names that programs use.

Each name is imported at its first use, so that a program imports only the modules that it needs.
"""

__path__ = __import__("pkgutil").extend_path(__path__, __name__)

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .core.authoring import ActivityContext as ActivityContext
    from .core.authoring import TaskActivity as TaskActivity
    from .core.authoring import TaskOrchestrator as TaskOrchestrator
    from .core.client import DurableTaskClient as DurableTaskClient
    from .core.connection import resolve_transport as resolve_transport
    from .core.connection_string import ConnectionString as ConnectionString
    from .core.context import OrchestrationContext as OrchestrationContext
    from .core.entities import EntityId as EntityId
    from .core.entities import EntityMetadata as EntityMetadata
    from .core.entity_context import EntityContext as EntityContext
    from .core.entity_context import TaskEntity as TaskEntity
    from .core.errors import ConfigurationError as ConfigurationError
    from .core.errors import ConnectionStringError as ConnectionStringError
    from .core.errors import DurableTaskError as DurableTaskError
    from .core.errors import EntityLockError as EntityLockError
    from .core.errors import InstanceAlreadyExistsError as InstanceAlreadyExistsError
    from .core.errors import InstanceNotFoundError as InstanceNotFoundError
    from .core.errors import InvalidArgumentError as InvalidArgumentError
    from .core.errors import InvalidOperationError as InvalidOperationError
    from .core.errors import InvalidRequestError as InvalidRequestError
    from .core.errors import MissingPackageError as MissingPackageError
    from .core.errors import NonDeterminismError as NonDeterminismError
    from .core.errors import NonRetryableError as NonRetryableError
    from .core.errors import NotSupportedError as NotSupportedError
    from .core.errors import OrchestrationTerminatedError as OrchestrationTerminatedError
    from .core.errors import OrchestratorMisuseError as OrchestratorMisuseError
    from .core.errors import PermissionDeniedError as PermissionDeniedError
    from .core.errors import RegistrationError as RegistrationError
    from .core.errors import ResourceExhaustedError as ResourceExhaustedError
    from .core.errors import RetryAfter as RetryAfter
    from .core.errors import SerializationError as SerializationError
    from .core.errors import TaskCancelledError as TaskCancelledError
    from .core.errors import TaskError as TaskError
    from .core.errors import TaskFailedError as TaskFailedError
    from .core.errors import TaskFailedException as TaskFailedException
    from .core.errors import TaskHubNotFoundError as TaskHubNotFoundError
    from .core.errors import TaskNotRegisteredError as TaskNotRegisteredError
    from .core.errors import TransportError as TransportError
    from .core.errors import TransportTimeoutError as TransportTimeoutError
    from .core.errors import TransportUnavailableError as TransportUnavailableError
    from .core.errors import UnauthenticatedError as UnauthenticatedError
    from .core.failures import FailureDetails as FailureDetails
    from .core.handles import OrchestrationHandle as OrchestrationHandle
    from .core.hosting.limits import ConcurrencyOptions as ConcurrencyOptions
    from .core.instances import OrchestrationState as OrchestrationState
    from .core.instances import OrchestrationStatus as OrchestrationStatus
    from .core.instances import PurgeResult as PurgeResult
    from .core.instances import ReusePolicy as ReusePolicy
    from .core.operations import operation as operation
    from .core.retry import RetryPolicy as RetryPolicy
    from .core.schedules.client import Schedule as Schedule
    from .core.schedules.client import ScheduleSpec as ScheduleSpec
    from .core.schedules.state import ScheduleStatus as ScheduleStatus
    from .core.serialization import DataConverter as DataConverter
    from .core.serialization import JsonDataConverter as JsonDataConverter
    from .core.tasks import Task as Task
    from .core.tasks import task_all as task_all
    from .core.tasks import task_any as task_any
    from .core.transport import Transport as Transport
    from .core.versioning import VersionFailureStrategy as VersionFailureStrategy
    from .core.versioning import VersioningOptions as VersioningOptions
    from .core.versioning import VersionMatchStrategy as VersionMatchStrategy
    from .core.worker import DurableTaskWorker as DurableTaskWorker
    from .core.worker import WorkerMetrics as WorkerMetrics
else:
    from .core.lazy import lazy_names

    __all__, __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "core.authoring": ("ActivityContext", "TaskActivity", "TaskOrchestrator"),
            "core.client": ("DurableTaskClient",),
            "core.connection": ("resolve_transport",),
            "core.connection_string": ("ConnectionString",),
            "core.context": ("OrchestrationContext",),
            "core.entities": ("EntityId", "EntityMetadata"),
            "core.entity_context": ("EntityContext", "TaskEntity"),
            "core.errors": (
                "ConfigurationError",
                "ConnectionStringError",
                "DurableTaskError",
                "EntityLockError",
                "InstanceAlreadyExistsError",
                "InstanceNotFoundError",
                "InvalidArgumentError",
                "InvalidOperationError",
                "InvalidRequestError",
                "MissingPackageError",
                "NonDeterminismError",
                "NonRetryableError",
                "NotSupportedError",
                "OrchestrationTerminatedError",
                "OrchestratorMisuseError",
                "PermissionDeniedError",
                "RegistrationError",
                "ResourceExhaustedError",
                "RetryAfter",
                "SerializationError",
                "TaskCancelledError",
                "TaskError",
                "TaskFailedError",
                "TaskFailedException",
                "TaskHubNotFoundError",
                "TaskNotRegisteredError",
                "TransportError",
                "TransportTimeoutError",
                "TransportUnavailableError",
                "UnauthenticatedError",
            ),
            "core.failures": ("FailureDetails",),
            "core.handles": ("OrchestrationHandle",),
            "core.hosting.limits": ("ConcurrencyOptions",),
            "core.instances": ("OrchestrationState", "OrchestrationStatus", "PurgeResult", "ReusePolicy"),
            "core.operations": ("operation",),
            "core.retry": ("RetryPolicy",),
            "core.schedules.client": ("Schedule", "ScheduleSpec"),
            "core.schedules.state": ("ScheduleStatus",),
            "core.serialization": ("DataConverter", "JsonDataConverter"),
            "core.tasks": ("Task", "task_all", "task_any"),
            "core.transport": ("Transport",),
            "core.versioning": ("VersionFailureStrategy", "VersionMatchStrategy", "VersioningOptions"),
            "core.worker": ("DurableTaskWorker", "WorkerMetrics"),
        },
    )
