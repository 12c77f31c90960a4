"""The protocol text is the public one, and the generated code is made from it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from durabletask.grpc.channel import SERVICE
from durabletask.grpc.proto._generated import lean_pb2 as lean
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb
from durabletask.grpc.server_calls import UNARY_CALLS
from generate_proto import GENERATOR, outdated
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor

_TABLE = Path(__file__).resolve().parents[2] / "docs/protocol/messages.json"
_TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_DOUBLE: "double",
}


def _table() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(_TABLE.read_text("utf-8"))["files"]["orchestrator_service.proto"]
    return found


def _file() -> descriptor_pb2.FileDescriptorProto:
    message = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(message)
    return message


def _public_name(name: str) -> str:
    """The name in the public protocol, which has no package; ours keeps the names of this process apart."""
    return name.removeprefix(f"{pb.DESCRIPTOR.package}.")


def _type_of(field: Any) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        return f"map<{_type_of(key)},{_type_of(value)}>"
    if field.message_type is not None:
        return _public_name(field.message_type.full_name)
    if field.enum_type is not None:
        return _public_name(field.enum_type.full_name)
    return _TYPES[field.type]


def _is_repeated(message: descriptor_pb2.DescriptorProto, name: str) -> bool:
    (field,) = (each for each in message.field if each.name == name)
    is_map = any(
        entry.options.map_entry and field.type_name.endswith(entry.name) for entry in message.nested_type
    )
    return field.label == field.LABEL_REPEATED and not is_map


def test_messages_are_those_of_the_protocol() -> None:
    """Every message has the same fields with the same numbers, types, labels and oneofs, and no others."""
    protos = {message.name: message for message in _file().message_type}
    wanted = _table()["messages"]
    assert set(protos) == set(wanted)
    for name, message in wanted.items():
        descriptor = pb.DESCRIPTOR.message_types_by_name[name]
        found = {
            (
                field.number,
                field.name,
                _type_of(field),
                "repeated" if _is_repeated(protos[name], field.name) else None,
                field.containing_oneof.name if field.containing_oneof else None,
                field.GetOptions().deprecated,
            )
            for field in descriptor.fields
        }
        expected = {
            (
                field["n"],
                field["name"],
                field["type"],
                field.get("label"),
                field.get("oneof"),
                field.get("deprecated", False),
            )
            for field in message.get("fields", [])
            if "origin" not in field  # of an unmerged branch: its number is reserved instead
        }
        assert found == expected, name


def test_numbers_that_must_not_be_used_are_reserved() -> None:
    """Removed fields, and those of branches that never merged, keep their numbers to themselves."""
    reserved = {
        message.name: {number for each in message.reserved_range for number in range(each.start, each.end)}
        for message in _file().message_type
        if message.reserved_range
    }
    wanted: dict[str, set[int]] = {"GetWorkItemsRequest": {12}, "WorkItemFilters": {4}}
    for name, message in _table()["messages"].items():
        for first, last in message.get("reserved", []):
            wanted.setdefault(name, set()).update(range(first, last + 1))
    assert reserved == wanted


def test_enums_are_those_of_the_protocol() -> None:
    """Every enum has the same names and numbers."""
    found = {enum.name: {value.name: value.number for value in enum.value} for enum in _file().enum_type}
    assert found == _table()["enums"]


def test_the_service_is_that_of_the_protocol() -> None:
    """All 29 calls, with the paths, types and streams of the protocol; the server has a handler for each."""
    (service,) = _file().service
    found = {
        method.name: (
            _public_name(method.input_type[1:]),
            _public_name(method.output_type[1:]),
            method.server_streaming,
        )
        for method in service.method
    }
    wanted = {
        name: (rpc["request"], rpc["response"], rpc.get("serverStreaming", False))
        for name, rpc in _table()["services"]["TaskHubSidecarService"]["rpcs"].items()
    }
    assert found == wanted
    assert len(found) == 29
    assert SERVICE == "/TaskHubSidecarService/"
    assert set(UNARY_CALLS) | {"GetWorkItems", "StreamInstanceHistory"} == set(found)
    for name, spec in UNARY_CALLS.items():
        assert _public_name(spec.request.DESCRIPTOR.full_name) == found[name][0]


def test_the_lean_view_has_the_numbers_of_the_protocol() -> None:
    """The second view of work items agrees with the first wherever it declares something."""
    for message in lean.DESCRIPTOR.message_types_by_name.values():
        original = pb.DESCRIPTOR.message_types_by_name[message.name]
        for field in message.fields:
            assert original.fields_by_name[field.name].number == field.number


_ANOTHER_SDK = """
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(name="orchestrator_service.proto", syntax="proto3")
file.message_type.add(name="WorkItem").field.add(name="other", number=99, type=9, label=1)
file.enum_type.add(name="OrchestrationStatus").value.add(name="ORCHESTRATION_STATUS_RUNNING", number=0)
file.service.add(name="TaskHubSidecarService")
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
"""
_OURS = "from durabletask.grpc.proto._generated import lean_pb2, orchestrator_service_pb2\n"


@pytest.mark.process
@pytest.mark.parametrize("program", [_ANOTHER_SDK + _OURS, _OURS + _ANOTHER_SDK])
def test_another_sdk_of_the_protocol_fits_into_the_process(program: str) -> None:
    """Its messages have the names of the public protocol, in the same pool, whichever is imported first."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_generated_code_is_current() -> None:
    """The code in the tree is what the generator makes of the text."""
    try:
        found = importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("grpcio-tools is not installed")
    if found != GENERATOR:
        pytest.skip(f"grpcio-tools {GENERATOR} makes the code, {found} is installed")
    assert outdated() == []
