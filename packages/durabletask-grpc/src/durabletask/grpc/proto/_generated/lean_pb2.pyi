from . import orchestrator_service_pb2 as _orchestrator_service_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkItem(_message.Message):
    __slots__ = ("orchestratorRequest", "activityRequest", "entityRequest", "healthPing", "entityRequestV2", "completionToken")
    ORCHESTRATORREQUEST_FIELD_NUMBER: _ClassVar[int]
    ACTIVITYREQUEST_FIELD_NUMBER: _ClassVar[int]
    ENTITYREQUEST_FIELD_NUMBER: _ClassVar[int]
    HEALTHPING_FIELD_NUMBER: _ClassVar[int]
    ENTITYREQUESTV2_FIELD_NUMBER: _ClassVar[int]
    COMPLETIONTOKEN_FIELD_NUMBER: _ClassVar[int]
    orchestratorRequest: OrchestratorRequest
    activityRequest: _orchestrator_service_pb2.ActivityRequest
    entityRequest: _orchestrator_service_pb2.EntityBatchRequest
    healthPing: _orchestrator_service_pb2.HealthPing
    entityRequestV2: _orchestrator_service_pb2.EntityRequest
    completionToken: str
    def __init__(self, orchestratorRequest: _Optional[_Union[OrchestratorRequest, _Mapping[str, object]]] = ..., activityRequest: _Optional[_Union[_orchestrator_service_pb2.ActivityRequest, _Mapping[str, object]]] = ..., entityRequest: _Optional[_Union[_orchestrator_service_pb2.EntityBatchRequest, _Mapping[str, object]]] = ..., healthPing: _Optional[_Union[_orchestrator_service_pb2.HealthPing, _Mapping[str, object]]] = ..., entityRequestV2: _Optional[_Union[_orchestrator_service_pb2.EntityRequest, _Mapping[str, object]]] = ..., completionToken: _Optional[str] = ...) -> None: ...

class OrchestratorRequest(_message.Message):
    __slots__ = ("instanceId", "executionId", "pastEvents", "newEvents", "requiresHistoryStreaming", "orchestrationTraceContext")
    INSTANCEID_FIELD_NUMBER: _ClassVar[int]
    EXECUTIONID_FIELD_NUMBER: _ClassVar[int]
    PASTEVENTS_FIELD_NUMBER: _ClassVar[int]
    NEWEVENTS_FIELD_NUMBER: _ClassVar[int]
    REQUIRESHISTORYSTREAMING_FIELD_NUMBER: _ClassVar[int]
    ORCHESTRATIONTRACECONTEXT_FIELD_NUMBER: _ClassVar[int]
    instanceId: str
    executionId: _wrappers_pb2.StringValue
    pastEvents: _containers.RepeatedScalarFieldContainer[bytes]
    newEvents: _containers.RepeatedCompositeFieldContainer[_orchestrator_service_pb2.HistoryEvent]
    requiresHistoryStreaming: bool
    orchestrationTraceContext: _orchestrator_service_pb2.OrchestrationTraceContext
    def __init__(self, instanceId: _Optional[str] = ..., executionId: _Optional[_Union[_wrappers_pb2.StringValue, _Mapping[str, object]]] = ..., pastEvents: _Optional[_Iterable[bytes]] = ..., newEvents: _Optional[_Iterable[_Union[_orchestrator_service_pb2.HistoryEvent, _Mapping[str, object]]]] = ..., requiresHistoryStreaming: bool = ..., orchestrationTraceContext: _Optional[_Union[_orchestrator_service_pb2.OrchestrationTraceContext, _Mapping[str, object]]] = ...) -> None: ...

class HistoryChunk(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, events: _Optional[_Iterable[bytes]] = ...) -> None: ...
