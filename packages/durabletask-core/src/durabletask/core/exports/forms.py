"""The forms in which SDKs of the protocol write an export job (protocol section 15).

The parts of a job (an entity, an orchestration, two activities) have two families of names, and their JSON three
spellings. A ``Form`` is one of the combinations that occur. ``messages`` has what is said in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from .job import ExportFileFormat
from .names import DOTNET, PYTHON

__all__ = ["FORMS", "Form", "FormName", "Plain", "folded", "form_of", "snake", "spelled"]

FormName: TypeAlias = Literal["dotnet", "javascript", "python"]
"""The SDKs after which the forms are named. The one of Java has the form of ``javascript``."""

Plain: TypeAlias = dict[str, Any]
"""A JSON object."""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The names and the spelling of one SDK.

    Attributes:
        name: name of the form.
        entity: name of the entity of a job.
        orchestrator: name of the orchestration that does the work.
        orchestrator_prefix: prefix of its instance id; the job's id follows.
        list_activity: name of the activity that lists a page of instances.
        export_activity: name of the activity that exports one.
        operations: names of the entity's operations, by our own.
        is_numbered: whether status and mode are numbers.
        content_types: media types of the files.
        id_metadata: name of the file's metadata that has the instance id.
    """

    name: FormName
    entity: str
    orchestrator: str
    orchestrator_prefix: str
    list_activity: str
    export_activity: str
    operations: Mapping[str, str]
    is_numbered: bool = False
    content_types: Mapping[ExportFileFormat, str]
    id_metadata: str

    def entity_id(self, job_id: str) -> str:
        """Id of the entity of a job."""
        return f"@{self.entity.lower()}@{job_id}"

    def orchestrator_id(self, job_id: str) -> str:
        """Id of the orchestration of a job."""
        return self.orchestrator_prefix + job_id


_DOTNET: Final = Form(
    name="dotnet",
    **DOTNET._asdict(),
    orchestrator_prefix="ExportJob-",
    operations={
        "create": "Create",
        "get": "Get",
        "commit": "CommitCheckpoint",
        "complete": "MarkAsCompleted",
        "fail": "MarkAsFailed",
        "resume": "Resume",
        "delete": "Delete",
    },
    is_numbered=True,
    content_types={"jsonl": "application/jsonl+gzip", "json": "application/json"},
    id_metadata="instanceId",
)
FORMS: Final[Mapping[FormName, Form]] = {
    "dotnet": _DOTNET,
    "javascript": msgspec.structs.replace(
        _DOTNET,
        name="javascript",
        operations={ours: name[0].lower() + name[1:] for ours, name in _DOTNET.operations.items()},
        is_numbered=False,
    ),
    "python": Form(
        name="python",
        **PYTHON._asdict(),
        orchestrator_prefix="export-job-",
        operations={
            "create": "create",
            "get": "get",
            "commit": "commit_checkpoint",
            "complete": "mark_completed",
            "fail": "mark_failed",
            "resume": "resume",
            "delete": "delete",
        },
        content_types={"jsonl": "application/x-ndjson", "json": "application/json"},
        id_metadata="instance_id",
    ),
}
"""The forms by name."""


# --- spelling ---------------------------------------------------------------------------------------------------------


def form_of(family: str, plain: object) -> Form:
    """The form of a JSON object.

    Args:
        family: a name of the object's entity, orchestration or activity, which determines the family.
        plain: the object, whose spelling determines the rest.
    """
    if family.lower() in {name.lower() for name in PYTHON}:
        return FORMS["python"]
    is_camel = isinstance(plain, dict) and any(key[:1].islower() for key in plain)
    return FORMS["javascript" if is_camel else "dotnet"]


def snake(name: str) -> str:
    """The name of a member in snake_case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def folded(plain: object) -> Any:
    """A JSON value with the members of all objects in snake_case."""
    if isinstance(plain, dict):
        return {snake(name): folded(value) for name, value in plain.items()}
    return [folded(each) for each in plain] if isinstance(plain, list) else plain


def spelled(plain: Plain, form: Form) -> Plain:
    """A JSON object with the members of all objects as the form spells them; the reverse of ``folded``."""
    return {_member(key, form): _value(value, form) for key, value in plain.items()}


def _value(value: object, form: Form) -> object:
    if isinstance(value, dict):
        return spelled(value, form)
    return [_value(each, form) for each in value] if isinstance(value, list) else value


def _member(name: str, form: Form) -> str:
    if form.name == "python":
        return name
    pascal = "".join(part.capitalize() for part in name.split("_"))
    return pascal if form.name == "dotnet" else pascal[0].lower() + pascal[1:]
