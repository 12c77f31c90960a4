"""What becomes of an exception: types, texts, causes, finality and data, on every hop."""

from __future__ import annotations

import enum
import itertools
import sys
import types
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from durabletask.core.errors import (
    ActivityNotRegisteredError,
    NonRetryableError,
    NotRegisteredError,
    RetryAfter,
    TaskFailedError,
    TaskNotRegisteredError,
)
from durabletask.core.failures import FailureDetails, qualified_name
from durabletask.core.retry import RetryPolicy
from durabletask.grpc.codec.values import decode_failure, encode_failure
from durabletask.grpc.proto._generated import orchestrator_service_pb2 as pb

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)

needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")


class CardDeclined(NonRetryableError):
    pass


def raised(error: BaseException) -> FailureDetails:
    """The failure of an exception that was really raised."""
    try:
        raise error
    except BaseException as caught:
        return FailureDetails.from_exception(caught)


def chained(*errors: Exception, implicit: bool = False) -> Exception:
    """The first error, caused by the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        if implicit:
            error.__context__ = cause
        else:
            error.__cause__ = cause
    return errors[0]


def through_a_child(details: FailureDetails, levels: int = 1) -> FailureDetails:
    """The failure of a sub-orchestration that did not catch the failure of its task."""
    for level in range(levels):
        details = raised(TaskFailedError.of(details, f"task {level}", name="t", task_id=level))
    return details


def is_retried(details: FailureDetails, **options: Any) -> bool:
    policy = RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3, **options)
    return policy.next_attempt(details, attempts=1, started_at=NOW, now=NOW) is not None


def over_the_wire(details: FailureDetails) -> FailureDetails:
    message = pb.TaskFailureDetails()
    encode_failure(message, details)
    return decode_failure(pb.TaskFailureDetails.FromString(message.SerializeToString()))


def through_a_file(details: FailureDetails) -> FailureDetails:
    return msgspec.json.decode(msgspec.json.encode(details), type=FailureDetails)


HOPS = pytest.mark.parametrize(
    "hop", [over_the_wire, through_a_file, lambda d: over_the_wire(through_a_file(d))]
)


# --- groups -----------------------------------------------------------------------------------------------


@needs_groups
@HOPS
def test_every_member_of_a_group_is_a_cause(hop: Any) -> None:
    """Also of groups in groups, with their own causes, on every hop."""
    inner = ExceptionGroup("inner", [chained(KeyError("k"), CardDeclined("no")), OSError("o")])  # noqa: F821
    group = ExceptionGroup("outer", [ValueError("v"), inner])  # noqa: F821
    details = hop(raised(chained(group, RuntimeError("before"))))
    assert [cause.error_type for cause in details.causes] == [
        "builtins.ValueError",
        "builtins.ExceptionGroup",
        "builtins.RuntimeError",
    ]
    assert details.inner_failure == details.causes[0]
    for error in (ValueError, KeyError, CardDeclined, OSError, RuntimeError, LookupError, "OSError"):
        assert details.is_caused_by(error)
    assert not details.is_caused_by(TypeError)
    assert details.causes[1].causes[0].message == "'k'"


@needs_groups
@HOPS
def test_a_group_is_final_when_any_member_is(hop: Any) -> None:
    """Whichever member it is, and however deep."""
    members: list[Exception] = [ValueError("v"), OSError("o")]
    assert not raised(ExceptionGroup("g", members)).is_final  # noqa: F821
    for final in (CardDeclined("c"), ActivityNotRegisteredError("x")):
        for group in (
            ExceptionGroup("g", [final]),  # noqa: F821
            ExceptionGroup("g", [*members, final]),  # noqa: F821
            ExceptionGroup("g", [*members, ExceptionGroup("h", [*members, final])]),  # noqa: F821
        ):
            details = hop(raised(group))
            assert details.is_non_retriable
            assert not is_retried(details)
            assert not is_retried(through_a_child(details, 2))
    plain = hop(raised(ExceptionGroup("g", members)))  # noqa: F821
    assert is_retried(plain)
    assert not is_retried(plain, non_retryable=(OSError,))
    assert not is_retried(plain, non_retryable="OSError")


@needs_groups
def test_the_message_of_a_failed_task_names_the_first_member() -> None:
    """And the group itself."""
    group = ExceptionGroup("unhandled errors in a TaskGroup", [CardDeclined("card 7 declined")])  # noqa: F821
    text = str(TaskFailedError.of(raised(group), "activity 'pay', id 7", name="pay", task_id=7))
    assert text.startswith("card 7 declined (")
    for part in (
        "CardDeclined",
        "builtins.ExceptionGroup in activity 'pay', id 7",
        "unhandled errors in a TaskGroup",
    ):
        assert part in text


def test_all_failures_of_a_group_of_tasks_are_causes() -> None:
    """``task_all(fail_fast=False)`` raises the first and knows all."""
    errors = [
        TaskFailedError.of(raised(e), "a", name="a", task_id=1) for e in (ValueError("v"), CardDeclined("c"))
    ]
    made = TaskFailedError(str(errors[0]), errors[0].details, failures=errors)
    details = raised(made)
    assert [cause.error_type for cause in details.causes] == [
        "builtins.ValueError",
        qualified_name(CardDeclined),
    ]
    assert details.is_final


# --- finality through levels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [CardDeclined("c"), ActivityNotRegisteredError("x"), chained(OSError(), CardDeclined())]
)
@pytest.mark.parametrize("levels", [0, 1, 3, 20])
@HOPS
def test_a_final_failure_is_final_at_every_level(error: Exception, levels: int, hop: Any) -> None:
    """The policy of a parent sees what happened below its children, also when the chain has been cut."""
    assert not is_retried(hop(through_a_child(raised(error), levels)))


@pytest.mark.parametrize("levels", [1, 3, 6])
def test_non_retryable_types_are_found_below_children(levels: int) -> None:
    """By class, base, qualified and bare name."""
    details = through_a_child(raised(KeyError("k")), levels)
    assert is_retried(details)
    for error in (KeyError, LookupError, "KeyError", "builtins.KeyError"):
        assert not is_retried(details, non_retryable=[error])


def test_who_asks_for_a_retry_gets_it_whatever_the_cause() -> None:
    """``RetryAfter`` is an instruction; a list of types in the policy still counts."""
    details = raised(chained(RetryAfter(5), CardDeclined("c")))
    assert is_retried(details)
    assert not is_retried(details, non_retryable=[CardDeclined])


@pytest.mark.parametrize(
    ("delay", "kind"), [("5", TypeError), (float("nan"), ValueError), (float("inf"), ValueError)]
)
def test_a_delay_that_is_none_is_refused_by_name(delay: Any, kind: type[Exception]) -> None:
    """A text is often a header of an HTTP answer; it is not quoted."""
    with pytest.raises(kind, match="delay must be"):
        RetryAfter(delay)


def test_a_name_that_is_not_registered_has_an_error_of_its_own() -> None:
    """Also through children, so that a saga can tell a typo from an outcome."""
    details = raised(ActivityNotRegisteredError("shipp", ["ship"]))
    assert type(TaskFailedError.of(details, "a", name="shipp", task_id=1)) is TaskNotRegisteredError
    child = through_a_child(details)
    assert type(TaskFailedError.of(child, "c", name="c", task_id=1)) is TaskNotRegisteredError
    assert child.matches(TaskFailedError)
    assert child.is_caused_by(NotRegisteredError)
    other = raised(chained(OSError(), ValueError()))
    assert type(TaskFailedError.of(other, "a", name="a", task_id=1)) is TaskFailedError


# --- texts ------------------------------------------------------------------------------------------------


def test_the_message_names_what_the_task_raised_and_the_deepest_cause() -> None:
    """Each once."""
    text = str(
        TaskFailedError.of(
            raised(chained(PermissionError("p"), KeyError("k"), OSError("disk"))), "w", name="a", task_id=1
        )
    )
    assert text == "disk (builtins.OSError), the cause of builtins.PermissionError in w: p"
    same = chained(PermissionError("disk"), OSError("disk"))
    assert "builtins.OSError" in str(TaskFailedError.of(raised(same), "w", name="a", task_id=1))
    alone = TaskFailedError.of(raised(OSError("disk")), "w", name="a", task_id=1)
    assert str(alone) == "disk (builtins.OSError in w)"
    child = str(TaskFailedError.of(raised(alone), "child", name="c", task_id=2))
    assert child == "disk (builtins.OSError in w) (durabletask.core.errors.TaskFailedError in child)"


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\N{PILE OF POO}" * 200_000, "\ud800" * 200_000])
@pytest.mark.parametrize("levels", [0, 12])
def test_long_texts_are_cut(text: str, levels: int) -> None:
    """The type and the beginning survive; what is cut is said; the whole fits into any message."""
    error = chained(
        ValueError("first " + text), *[OSError(text) for _ in range(12)], KeyError("last " + text)
    )
    details = through_a_child(raised(error), levels)
    assert len(msgspec.json.encode(details)) < 200_000
    assert details.root_cause.error_type == "builtins.KeyError"
    assert details.root_cause.message.startswith("'last ")
    assert "characters cut)" in details.root_cause.message
    headline = TaskFailedError.of(details, "w", name="a", task_id=1)
    assert len(str(headline)) < 5_000
    if not levels:
        assert details.message.startswith("first ")


@needs_groups
def test_large_groups_are_cut() -> None:
    """A hundred members of a hundred members, with long texts."""
    group = ExceptionGroup("g", [ExceptionGroup("h", [ValueError("x" * 10_000)] * 100)] * 100)  # noqa: F821
    details = raised(ExceptionGroup("f", [group, *[OSError("o" * 100_000) for _ in range(100)]]))  # noqa: F821
    assert len(msgspec.json.encode(details)) < 200_000
    assert len(details.causes) <= 10
    assert details.is_caused_by(OSError)


def test_the_chain_keeps_its_root() -> None:
    """The middle is left out, with a remark."""
    details = raised(chained(*[ValueError(str(n)) for n in range(40)]))
    chain = [details]
    while chain[-1].inner_failure is not None:
        chain.append(chain[-1].inner_failure)
    assert [link.message for link in chain][:8] == [str(n) for n in range(8)]
    assert len(chain) == 10
    assert "30 causes" in chain[8].message
    assert chain[-1].message == "39"


class Hostile(Exception):
    def __init__(self, wrong: BaseException) -> None:
        super().__init__()
        self.wrong = wrong

    def __str__(self) -> str:
        raise self.wrong

    def __getattr__(self, name: str) -> object:
        raise self.wrong

    @property
    def failure_properties(self) -> object:
        raise self.wrong

    def __repr__(self) -> str:
        raise self.wrong


@pytest.mark.parametrize("wrong", [SystemExit(3), GeneratorExit(), ValueError("x"), RecursionError()])
def test_an_exception_that_cannot_be_shown_is_described_all_the_same(wrong: BaseException) -> None:
    """Whatever its own code raises, SystemExit too."""
    details = raised(Hostile(wrong))
    assert details.error_type == qualified_name(Hostile)
    assert type(wrong).__name__ in details.message


# --- names from the wire ----------------------------------------------------------------------------------


def test_a_type_name_from_the_hub_runs_no_foreign_code() -> None:
    """A lookup reads dictionaries only, and gives up early on a name without end."""
    module = types.ModuleType("lazy_module")
    asked: list[str] = []
    module.__getattr__ = asked.append  # type: ignore[method-assign]

    class Meta(type):
        def __getattr__(cls, name: str) -> object:
            asked.append(name)
            return ValueError

    module.Holder = Meta("Holder", (), {"Inner": KeyError})  # type: ignore[attr-defined]
    sys.modules["lazy_module"] = module
    try:
        for name in (
            "lazy_module.Error",
            "lazy_module.Holder.Error",
            "lazy_module.Holder",
            "lazy_module.asked.x",
        ):
            assert not FailureDetails(name, "").matches(ValueError)
        assert FailureDetails("lazy_module.Holder.Inner", "").matches(LookupError)
    finally:
        del sys.modules["lazy_module"]
    assert asked == []
    for hostile in ("a." * 500_000, "." * 500_000, "builtins" + ".ValueError" * 100_000, ""):
        assert not FailureDetails(hostile, "").matches(ValueError)
        assert not FailureDetails(hostile, "").matches("ValueError1")


# --- data -------------------------------------------------------------------------------------------------


class Code(enum.Enum):
    HARD = "hard"


class WithMethod(Exception):
    def failure_properties(self) -> dict[str, object]:
        return {"code": Code.HARD, "count": 3, "ratio": 0.5, "ok": True, "none": None}


class WithAttribute(Exception):
    def __init__(self, **data: object) -> None:
        super().__init__("w")
        self.failure_properties = data


@HOPS
def test_data_travels_with_an_exception(hop: Any) -> None:
    """As JSON-like values, the same after every hop, also of a cause."""
    assert hop(raised(WithMethod())).properties == {
        "code": "hard",
        "count": 3,
        "ratio": 0.5,
        "ok": True,
        "none": None,
    }
    details = hop(
        raised(
            chained(
                OSError("o"),
                WithAttribute(
                    at=datetime(2030, 1, 2, tzinfo=timezone.utc),
                    day=date(2030, 1, 2),
                    key=uuid.UUID(int=1),
                    price=Decimal("1.10"),
                    nested={"a": [1, {"b": 2}]},
                    large=2**60,
                    nan=float("nan"),
                    thing=object(),
                ),
            )
        )
    )
    assert details.inner_failure.properties == {
        "at": "2030-01-02T00:00:00+00:00",
        "day": "2030-01-02",
        "key": "00000000-0000-0000-0000-000000000001",
        "price": "1.10",
        "nested": {"a": [1, {"b": 2}]},
        "large": str(2**60),
        "nan": "nan",
        "thing": "<builtins.object>",
    }
    assert type(details.inner_failure.properties["nested"]["a"][0]) is int
    assert hop(details) == details


@HOPS
def test_data_is_bounded(hop: Any) -> None:
    """Long texts, many items, deep nesting, everything at once; reserved names are ours."""
    deep: dict[str, object] = {}
    deep["self"] = deep
    huge = {f"k{n}": ["x" * 100_000] * 100 for n in range(100)}
    details = hop(raised(WithAttribute(text="x" * 100_000, many=list(range(1000)), deep=deep, **huge)))
    assert len(msgspec.json.encode(details)) < 50_000
    assert details.properties is not None
    assert "cut" in str(details.properties)
    reserved = raised(WithAttribute(**{"durabletask.retryAfterSeconds": 1, "durabletask.causes": [], "a": 1}))
    assert reserved.properties == {"a": 1}


@pytest.mark.parametrize("given", [7, "text", ["a"], {"a": object}, lambda: 1 / 0, lambda: None, lambda x: x])
def test_data_that_is_no_mapping_does_no_harm(given: object) -> None:
    """The failure itself is what counts."""
    error = ValueError("v")
    error.failure_properties = given  # type: ignore[attr-defined]
    assert raised(error).message == "v"
