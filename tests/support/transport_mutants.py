"""Deliberately broken transports, and which spec test of the conformance kit notices each.

The docstring of a class says what it does wrong; ``caught_by`` names the test that must fail on it.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import msgspec
from durabletask.core.actions import (
    CompleteOrchestration,
    CreateSubOrchestration,
    CreateTimer,
    RequestEntityLock,
)
from durabletask.core.entities import EntityQuery
from durabletask.core.errors import (
    InstanceAlreadyExistsError,
    InvalidRequestError,
    TransportTimeoutError,
)
from durabletask.core.history import (
    EventRaised,
    ExecutionStarted,
    ExecutionSuspended,
    SubOrchestrationInstanceCompleted,
    TaskScheduled,
)
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstancePage,
    OrchestrationStatus,
    PurgeInstance,
    PurgeResult,
    ReusePolicy,
)
from durabletask.core.work_items import (
    ActivityWorkItem,
    EntityBatchResult,
    EntityOperationResult,
    EntityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItemStreamOptions,
)
from durabletask.testing.wrapping import WrappedTransport

replace = msgspec.structs.replace
MUTANTS: list[type[Mutant]] = []


class Mutant(WrappedTransport):
    caught_by = ""

    def __init_subclass__(cls) -> None:
        if cls.caught_by:
            MUTANTS.append(cls)

    def change_item(self, item):
        return item

    async def work_items(self, options):
        stream = self.inner.work_items(options)
        try:
            async for item in stream:
                yield self.change_item(item)
        finally:
            await stream.aclose()


class EpisodeMutant(Mutant):
    """Changes the result of every episode."""

    def change_result(self, result: OrchestratorResult) -> OrchestratorResult:
        return result

    async def complete_orchestrator(self, result):
        await self.inner.complete_orchestrator(self.change_result(result))


class StateMutant(Mutant):
    """Changes every state that is read."""

    def change_state(self, state, include_payloads):
        return state

    async def get_instance(self, instance_id, *, include_payloads=True):
        state = await self.inner.get_instance(instance_id, include_payloads=include_payloads)
        return None if state is None else self.change_state(state, include_payloads)


# --- connection ---------------------------------------------------------------------------------------------


class CannotBeReopened(Mutant):
    """Refuses every call after ``close``."""

    caught_by = "TestConnection.test_close_may_be_repeated_and_the_transport_used_again"
    closed = False

    async def close(self):
        self.closed = True
        await self.inner.close()

    async def create_instance(self, request):
        if self.closed:
            raise InvalidRequestError("closed")
        return await self.inner.create_instance(request)


class LeavesStreamsOpen(Mutant):
    """Does not end the streams of workers when it is closed."""

    caught_by = "TestConnection.test_close_ends_an_open_work_item_stream"

    async def close(self):
        pass


# --- create -------------------------------------------------------------------------------------------------


class ForgetsTags(Mutant):
    """Drops the tags of a new instance."""

    caught_by = "TestCreate.test_a_new_instance_is_pending_and_described"

    async def create_instance(self, request):
        return await self.inner.create_instance(replace(request, tags={}))


class FoldsIds(Mutant):
    """Takes ids that differ in case for the same."""

    caught_by = "TestCreate.test_ids_are_opaque"

    async def create_instance(self, request):
        return await self.inner.create_instance(replace(request, instance_id=request.instance_id.lower()))


class SwallowsDuplicates(Mutant):
    """Answers a second creation of an id as if it had worked."""

    caught_by = "TestCreate.test_a_live_id_is_refused"

    async def create_instance(self, request):
        try:
            return await self.inner.create_instance(request)
        except InstanceAlreadyExistsError:
            return request.instance_id


class ReplacesFinishedUnasked(Mutant):
    """Takes an empty reuse policy for "replace what is finished"."""

    caught_by = "TestCreate.test_a_finished_id_is_refused_when_the_policy_lists_nothing"

    async def create_instance(self, request):
        return await self.inner.create_instance(replace(request, reuse_policy=ReusePolicy.replace_terminal()))


class NeverReplaces(Mutant):
    """Ignores the reuse policy."""

    caught_by = "TestCreate.test_a_finished_id_is_replaced_when_the_policy_says_so"

    async def create_instance(self, request):
        return await self.inner.create_instance(replace(request, reuse_policy=None))


class StartsScheduledAtOnce(Mutant):
    """Ignores the start time of a scheduled instance."""

    caught_by = "TestCreate.test_a_scheduled_instance_starts_at_its_time"

    async def create_instance(self, request):
        return await self.inner.create_instance(replace(request, scheduled_start_at=None))


# --- read ---------------------------------------------------------------------------------------------------


class ReformatsPayloads(EpisodeMutant):
    """Stores the meaning of a payload, not its text."""

    caught_by = "TestRead.test_payloads_come_back_character_for_character"

    async def create_instance(self, request):
        return await self.inner.create_instance(replace(request, input=json.dumps(json.loads(request.input))))


class EmptyForMissing(StateMutant):
    """Shows a missing output as empty text."""

    caught_by = "TestRead.test_a_missing_result_stays_missing"

    def change_state(self, state, include_payloads):
        return replace(state, serialized_output=state.serialized_output or "")


class AlwaysShowsPayloads(Mutant):
    """Ignores ``include_payloads=False``."""

    caught_by = "TestRead.test_payloads_are_left_out_on_request"

    async def get_instance(self, instance_id, *, include_payloads=True):
        return await self.inner.get_instance(instance_id)


class HidesFailures(StateMutant):
    """Takes failure details for a payload and hides them too."""

    caught_by = "TestRead.test_failure_details_are_always_there_and_whole"

    def change_state(self, state, include_payloads):
        return state if include_payloads else replace(state, failure_details=None)


class LosesInnerFailures(StateMutant):
    """Keeps the outermost failure only."""

    caught_by = "TestRead.test_failure_details_are_always_there_and_whole"

    def change_state(self, state, include_payloads):
        failure = state.failure_details and replace(state.failure_details, inner_failure=None)
        return replace(state, failure_details=failure)


class KeepsOldCustomStatus(EpisodeMutant):
    """Takes "no custom status" for "as before"."""

    caught_by = "TestRead.test_the_custom_status_is_the_one_of_the_last_episode"
    last = None

    def change_result(self, result):
        self.last = result.custom_status or self.last
        return replace(result, custom_status=self.last)


class NaiveTimes(StateMutant):
    """Hands out times without a zone."""

    caught_by = "TestRead.test_times_are_aware_utc_and_in_order"

    def change_state(self, state, include_payloads):
        return replace(state, created_at=state.created_at.replace(tzinfo=None))


# --- wait ---------------------------------------------------------------------------------------------------


class DoesNotWait(Mutant):
    """Answers a completion wait with the state of the moment."""

    caught_by = "TestWait.test_a_completion_wait_ends_with_the_output"

    async def wait_for_instance_completion(self, instance_id, *, include_payloads=True, timeout=None):
        return await self.inner.get_instance(instance_id, include_payloads=include_payloads)


class StartMeansCompletion(Mutant):
    """Waits for the end when asked to wait for the start."""

    caught_by = "TestWait.test_a_start_wait_ends_when_the_first_episode_is_committed"

    async def wait_for_instance_start(self, instance_id, *, include_payloads=True, timeout=None):
        return await self.inner.wait_for_instance_completion(instance_id, timeout=timeout)


class TimeOutIsAnError(Mutant):
    """Raises at the time-out of a wait."""

    caught_by = "TestWait.test_a_wait_that_takes_too_long_is_none"

    async def wait_for_instance_start(self, instance_id, *, include_payloads=True, timeout=None):
        state = await self.inner.wait_for_instance_start(instance_id, timeout=timeout)
        if state is None:
            raise TransportTimeoutError(instance_id)
        return state


class UnknownIsNotWaitedFor(Mutant):
    """Answers a wait for an unknown id at once."""

    caught_by = "TestWait.test_an_instance_may_be_created_after_the_wait_began"

    async def wait_for_instance_completion(self, instance_id, *, include_payloads=True, timeout=None):
        if await self.inner.get_instance(instance_id) is None:
            return None
        return await self.inner.wait_for_instance_completion(instance_id, timeout=timeout)


class WakesOneWaiter(Mutant):
    """Wakes only the first of several waits."""

    caught_by = "TestWait.test_every_waiter_is_woken"
    waiting = 0

    async def wait_for_instance_completion(self, instance_id, *, include_payloads=True, timeout=None):
        self.waiting += 1
        if self.waiting > 1:
            instance_id += "-never"
        return await self.inner.wait_for_instance_completion(instance_id, timeout=timeout)


# --- events and control ---------------------------------------------------------------------------------------


class DeliversEventsTwice(Mutant):
    """Raises every event twice."""

    caught_by = "TestExternalEvents.test_events_keep_the_order_of_their_caller"

    async def raise_event(self, instance_id, name, data=None):
        await self.inner.raise_event(instance_id, name, data)
        await self.inner.raise_event(instance_id, name, data)


class ReversesEvents(Mutant):
    """Delivers the events of one episode in the wrong order."""

    caught_by = "TestExternalEvents.test_events_keep_the_order_of_their_caller"

    def change_item(self, item):
        if not isinstance(item, OrchestratorWorkItem):
            return item
        head = [event for event in item.new_events if not isinstance(event, EventRaised)]
        events = [event for event in item.new_events if isinstance(event, EventRaised)]
        return replace(item, new_events=[*head, *reversed(events)])


class LosesEventsDuringEpisodes(Mutant):
    """Drops events that arrive while an episode is out."""

    caught_by = "TestExternalEvents.test_an_event_that_comes_during_an_episode_waits_for_the_next"

    def __init__(self, inner):
        super().__init__(inner)
        self.out = set()

    def change_item(self, item):
        self.out.add(item.instance_id)
        return item

    async def complete_orchestrator(self, result):
        self.out.discard(result.instance_id)
        await self.inner.complete_orchestrator(result)

    async def raise_event(self, instance_id, name, data=None):
        if instance_id not in self.out:
            await self.inner.raise_event(instance_id, name, data)


class LosesEarlyEvents(Mutant):
    """Drops events for an instance that has not started."""

    caught_by = "TestExternalEvents.test_an_event_before_the_first_episode_is_kept"

    async def raise_event(self, instance_id, name, data=None):
        state = await self.inner.get_instance(instance_id)
        if state is None or state.runtime_status is not OrchestrationStatus.PENDING:
            await self.inner.raise_event(instance_id, name, data)


class EventsCreateInstances(Mutant):
    """Creates an instance for an event to an unknown id."""

    caught_by = "TestExternalEvents.test_an_event_creates_no_instance"

    async def raise_event(self, instance_id, name, data=None):
        if await self.inner.get_instance(instance_id) is None:
            await self.inner.create_instance(CreateInstanceRequest(name="Unknown", instance_id=instance_id))
        await self.inner.raise_event(instance_id, name, data)


class EmptyEventData(Mutant):
    """Turns an event without data into one with empty data."""

    caught_by = "TestExternalEvents.test_an_event_without_data_has_none"

    async def raise_event(self, instance_id, name, data=None):
        await self.inner.raise_event(instance_id, name, data or "")


class TerminatesWithoutTheOrchestrator(Mutant):
    """Ends an instance by itself instead of telling its orchestrator."""

    caught_by = "TestControl.test_terminate_reaches_the_orchestrator_with_its_output"

    async def terminate_instance(self, instance_id, *, output=None, recursive=True):
        await self.inner.force_terminate_instances([instance_id])


class NeverRecursive(Mutant):
    """Does not terminate children."""

    caught_by = "TestControl.test_terminate_reaches_children_when_it_is_recursive"

    async def terminate_instance(self, instance_id, *, output=None, recursive=True):
        await self.inner.terminate_instance(instance_id, output=output, recursive=False)


class AlwaysRecursive(Mutant):
    """Terminates children also when it should not."""

    caught_by = "TestControl.test_terminate_leaves_children_alone_when_it_is_not_recursive"

    async def terminate_instance(self, instance_id, *, output=None, recursive=True):
        await self.inner.terminate_instance(instance_id, output=output, recursive=True)


class LosesReasons(Mutant):
    """Delivers a suspension without its reason."""

    caught_by = "TestControl.test_suspend_and_resume_change_the_status"

    def change_item(self, item):
        if not isinstance(item, OrchestratorWorkItem):
            return item
        events = [
            replace(event, input=None) if isinstance(event, ExecutionSuspended) else event
            for event in item.new_events
        ]
        return replace(item, new_events=events)


class WakesOnStrayResume(Mutant):
    """Delivers something when an instance that runs is resumed."""

    caught_by = "TestControl.test_a_second_suspend_and_a_stray_resume_do_nothing"

    async def resume_instance(self, instance_id, *, reason=None):
        await self.inner.raise_event(instance_id, "resumed")


# --- lists ----------------------------------------------------------------------------------------------------


class PagesByOffset(Mutant):
    """Uses the number of instances seen so far as the token of a page."""

    caught_by = "TestQuery.test_an_instance_purged_between_pages_hides_no_other"

    async def query_instances(self, query):
        whole = await self.inner.query_instances(replace(query, page_size=1000, continuation_token=None))
        start = int(query.continuation_token or 0)
        end = start + query.page_size
        token = str(end) if end < len(whole.states) else None
        return InstancePage(whole.states[start:end], token)


class NeverTheLastPage(Mutant):
    """Hands out a token with the last page too."""

    caught_by = "TestQuery.test_an_empty_hub_has_no_instances"

    async def query_instances(self, query):
        page = await self.inner.query_instances(query)
        return InstancePage(page.states, page.continuation_token or "0")


class IgnoresPageSize(Mutant):
    """Returns everything as one page."""

    caught_by = "TestQuery.test_pages_cover_everything_once_and_in_order"

    async def query_instances(self, query):
        return await self.inner.query_instances(replace(query, page_size=1000))


class NewestFirst(Mutant):
    """Lists the youngest instance first."""

    caught_by = "TestQuery.test_pages_cover_everything_once_and_in_order"

    async def query_instances(self, query):
        page = await self.inner.query_instances(query)
        return InstancePage(list(reversed(page.states)), page.continuation_token)


class PrefixWithWildcards(Mutant):
    """Takes ``%`` and ``_`` in a prefix for wildcards, as SQL does."""

    caught_by = "TestQuery.test_the_prefix_of_the_id_is_a_filter"

    async def query_instances(self, query):
        prefix = (query.instance_id_prefix or "").split("%")[0].split("_")[0]
        return await self.inner.query_instances(replace(query, instance_id_prefix=prefix))


class InclusiveEnd(Mutant):
    """Includes the end of a time range."""

    caught_by = "TestQuery.test_creation_time_is_a_filter"

    async def query_instances(self, query):
        to = query.created_to and query.created_to + timedelta(milliseconds=1)
        return await self.inner.query_instances(replace(query, created_to=to))


class IgnoresStatus(Mutant):
    """Ignores the statuses of a query."""

    caught_by = "TestQuery.test_status_is_a_filter"

    async def query_instances(self, query):
        return await self.inner.query_instances(replace(query, runtime_statuses=()))


class PurgesLive(Mutant):
    """Purges live instances too."""

    caught_by = "TestPurge.test_live_and_missing_instances_count_zero"

    async def purge_instances(self, request):
        if isinstance(request, PurgeInstance):
            await self.inner.force_terminate_instances([request.instance_id])
        return await self.inner.purge_instances(request)


class CountsWhatWasAsked(Mutant):
    """Counts the ids of a batch instead of the instances that went."""

    caught_by = "TestPurge.test_a_batch_purges_what_can_be_purged"

    async def purge_instances(self, request):
        await self.inner.purge_instances(request)
        return PurgeResult(len(getattr(request, "instance_ids", (1,))))


class CutsHistories(Mutant):
    """Streams the first chunk of a history only."""

    caught_by = "TestHistory.test_a_long_history_comes_whole"

    async def stream_history(self, instance_id, *, execution_id=None):
        async for chunk in self.inner.stream_history(instance_id, execution_id=execution_id):
            yield chunk[:100]
            return


# --- episodes and activities ------------------------------------------------------------------------------------


class ConfirmsInReverse(EpisodeMutant):
    """Confirms the actions of an episode in the wrong order."""

    caught_by = "TestEpisodes.test_actions_are_confirmed_in_their_order"

    def change_result(self, result):
        return replace(result, actions=list(reversed(result.actions)))


class DropsActionsBesideCompletion(EpisodeMutant):
    """Ignores the other actions of an episode that completes."""

    caught_by = "TestEpisodes.test_completion_carries_out_the_other_actions"

    def change_result(self, result):
        ends = [action for action in result.actions if isinstance(action, CompleteOrchestration)]
        return replace(result, actions=ends or result.actions)


class LosesConfirmations(Mutant):
    """Leaves TaskScheduled out of the delivered past."""

    caught_by = "TestEpisodes.test_the_past_only_grows"

    def change_item(self, item):
        if isinstance(item, OrchestratorWorkItem):
            past = [event for event in item.past_events if not isinstance(event, TaskScheduled)]
            return replace(item, past_events=past[: len(past) - len(item.past_events) // 4 or None])
        return item


class DeliversEverythingTwice(Mutant):
    """Hands out an episode to two workers at once."""

    caught_by = "TestEpisodes.test_one_episode_at_a_time"

    async def work_items(self, options):
        stream = self.inner.work_items(options)
        try:
            async for item in stream:
                yield item
                yield item
        finally:
            await stream.aclose()


class ForgetsActivityVersions(Mutant):
    """Hands out activities without their version."""

    caught_by = "TestActivities.test_an_activity_is_described_whole"

    def change_item(self, item):
        return replace(item, version=None) if isinstance(item, ActivityWorkItem) else item


class FailureNeedsAMessage(Mutant):
    """Takes a failure with an empty message for a success."""

    caught_by = "TestActivities.test_a_failure_comes_back_whole"

    async def complete_activity(self, result):
        if result.failure is not None and not result.failure.message:
            result = replace(result, failure=None)
        await self.inner.complete_activity(result)


class EmptyResults(Mutant):
    """Turns a missing result of an activity into empty text."""

    caught_by = "TestActivities.test_no_result_stays_no_result"

    async def complete_activity(self, result):
        await self.inner.complete_activity(replace(result, result=result.result or ""))


# --- time, children, executions ------------------------------------------------------------------------------


class FiresEarly(EpisodeMutant):
    """Fires timers three seconds early."""

    caught_by = "TestTimers.test_a_timer_fires_at_its_time_and_not_before"

    def change_result(self, result):
        actions = [
            replace(action, fire_at=action.fire_at - timedelta(seconds=3))
            if isinstance(action, CreateTimer)
            else action
            for action in result.actions
        ]
        return replace(result, actions=actions)


class NeverFiresThePast(EpisodeMutant):
    """Pushes a timer whose time is gone into the next hour."""

    caught_by = "TestTimers.test_a_time_in_the_past_fires_at_once"

    def change_result(self, result):
        actions = [
            replace(action, fire_at=action.fire_at + timedelta(hours=1))
            if isinstance(action, CreateTimer)
            else action
            for action in result.actions
        ]
        return replace(result, actions=actions)


class HidesParents(Mutant):
    """Does not tell a child who its parent is."""

    caught_by = "TestChildren.test_a_child_knows_its_parent"

    def change_item(self, item):
        if not isinstance(item, OrchestratorWorkItem):
            return item
        events = [
            replace(event, parent=None) if isinstance(event, ExecutionStarted) else event
            for event in item.new_events
        ]
        return replace(item, new_events=events)


class LosesChildResults(Mutant):
    """Tells a parent that its child completed, but not with what."""

    caught_by = "TestChildren.test_the_parent_gets_the_result"

    def change_item(self, item):
        if not isinstance(item, OrchestratorWorkItem):
            return item
        events = [
            replace(event, result=None) if isinstance(event, SubOrchestrationInstanceCompleted) else event
            for event in item.new_events
        ]
        return replace(item, new_events=events)


class RenamesCollidingChildren(EpisodeMutant):
    """Gives a child another id when its own is taken."""

    caught_by = "TestChildren.test_an_id_that_is_live_fails_the_task_of_the_parent"
    known = frozenset()

    def change_result(self, result):
        actions = [
            replace(action, instance_id=f"{action.instance_id}-2")
            if isinstance(action, CreateSubOrchestration)
            else action
            for action in result.actions
        ]
        return replace(result, actions=actions)


class ContinuesWithTheOldInput(EpisodeMutant):
    """Starts the next execution without its input."""

    caught_by = "TestContinueAsNew.test_the_next_execution_starts_with_the_new_input"

    def change_result(self, result):
        actions = [
            replace(action, result=None)
            if isinstance(action, CompleteOrchestration)
            and action.status is OrchestrationStatus.CONTINUED_AS_NEW
            else action
            for action in result.actions
        ]
        return replace(result, actions=actions)


class DropsCarriedEvents(EpisodeMutant):
    """Forgets the events that an execution hands to the next."""

    caught_by = "TestContinueAsNew.test_carried_events_come_before_those_that_waited"

    def change_result(self, result):
        actions = [
            replace(action, carryover_events=()) if isinstance(action, CompleteOrchestration) else action
            for action in result.actions
        ]
        return replace(result, actions=actions)


# --- tokens, redelivery, streams --------------------------------------------------------------------------------


class TakesAnyToken(Mutant):
    """Finds the item by its instance and ignores the token."""

    caught_by = "TestTokens.test_a_late_episode_changes_nothing"

    def __init__(self, inner):
        super().__init__(inner)
        self.present = {}

    def change_item(self, item):
        self.present[(type(item), item.instance_id)] = item.completion_token
        return item

    async def complete_orchestrator(self, result):
        token = self.present.get((OrchestratorWorkItem, result.instance_id), "")
        await self.inner.complete_orchestrator(replace(result, completion_token=token))


class TakesAnyActivityToken(TakesAnyToken):
    """Finds an activity by its instance and ignores the token."""

    caught_by = "TestTokens.test_a_late_activity_answer_changes_nothing"

    async def complete_orchestrator(self, result):
        await self.inner.complete_orchestrator(result)

    async def complete_activity(self, result):
        token = self.present.get((ActivityWorkItem, result.instance_id), "")
        await self.inner.complete_activity(replace(result, completion_token=token))


class RefusesStaleTokens(Mutant):
    """Raises for a token that it does not know."""

    caught_by = "TestTokens.test_an_unknown_token_changes_nothing"

    async def complete_activity(self, result):
        if result.completion_token == "never-given-out":
            raise InvalidRequestError("unknown token")
        await self.inner.complete_activity(result)


class SameTokenAgain(Mutant):
    """Gives the activities of one instance one token."""

    caught_by = "TestTokens.test_every_delivery_has_a_token_of_its_own"

    def change_item(self, item):
        return replace(item, completion_token=f"{type(item).__name__}:{item.instance_id}")


class LosesItemsWithTheStream(Mutant):
    """Keeps the items of a closed stream for ever."""

    caught_by = "TestRedelivery.test_a_closed_stream_gives_its_episode_back"

    def __init__(self, inner):
        super().__init__(inner)
        self.streams = []

    async def work_items(self, options):
        stream = self.inner.work_items(options)
        self.streams.append(stream)
        async for item in _unclosed(stream):
            yield item


class LosesUnreadItems(Mutant):
    """Commits an episode when it is handed out, not when it is answered."""

    caught_by = "TestRedelivery.test_what_was_never_looked_at_is_not_lost"

    async def work_items(self, options):
        stream = self.inner.work_items(options)
        try:
            async for item in stream:
                if isinstance(item, OrchestratorWorkItem):
                    await self.inner.complete_orchestrator(
                        OrchestratorResult(
                            instance_id=item.instance_id, actions=(), completion_token=item.completion_token
                        )
                    )
                yield item
        finally:
            await stream.aclose()


class AbandonCommits(Mutant):
    """Takes an abandoned episode for one without actions."""

    caught_by = "TestRedelivery.test_an_abandoned_episode_comes_again_unchanged"

    async def abandon_orchestrator(self, item):
        await self.inner.complete_orchestrator(
            OrchestratorResult(
                instance_id=item.instance_id, actions=(), completion_token=item.completion_token
            )
        )


class AbandonForgets(Mutant):
    """Forgets an abandoned activity."""

    caught_by = "TestRedelivery.test_an_abandoned_activity_comes_again"

    async def abandon_activity(self, item):
        pass


class AbandonByInstance(Mutant):
    """Looks for an abandoned item under its instance id instead of its token."""

    caught_by = "TestRedelivery.test_the_token_alone_gives_work_back"

    async def abandon_orchestrator(self, item):
        if item.instance_id:
            await self.inner.abandon_orchestrator(item)


class IgnoresLimits(Mutant):
    """Hands out as much as there is."""

    caught_by = "TestLimits.test_episodes_are_bounded"

    def work_items(self, options):
        return self.inner.work_items(WorkItemStreamOptions(filters=options.filters))


class ZeroMeansNone(Mutant):
    """Takes the limit 0 for "nothing"."""

    caught_by = "TestLimits.test_zero_means_no_limit"

    def work_items(self, options):
        return self.inner.work_items(replace(options, max_orchestrations=options.max_orchestrations or 1))


class IgnoresFilters(Mutant):
    """Hands out what a worker did not ask for."""

    caught_by = "TestFilters.test_only_accepted_names_are_delivered"

    def work_items(self, options):
        return self.inner.work_items(replace(options, filters=None))


class EmptyFilterMeansAll(Mutant):
    """Takes an empty category of a filter for "everything of it"."""

    caught_by = "TestFilters.test_an_empty_category_means_nothing_of_it"

    def work_items(self, options):
        filters = options.filters
        if filters is not None and not filters.orchestrations:
            options = replace(options, filters=None)
        return self.inner.work_items(options)


class RestartsWithoutInput(Mutant):
    """Forgets the input at a restart."""

    caught_by = "TestRestart.test_a_restart_under_the_same_id_begins_anew"

    async def restart_instance(self, instance_id, *, with_new_instance_id=False):
        state = await self.inner.get_instance(instance_id)
        await self.inner.purge_instances(PurgeInstance(instance_id=instance_id))
        return await self.inner.create_instance(
            CreateInstanceRequest(name=state.name, instance_id=instance_id)
        )


class BatchMutant(Mutant):
    """Changes every batch of an entity, or its result."""

    def change_batch(self, item: EntityWorkItem) -> EntityWorkItem:
        return item

    def change_outcome(self, result: EntityBatchResult) -> EntityBatchResult:
        return result

    def change_item(self, item):
        return self.change_batch(item) if isinstance(item, EntityWorkItem) else item

    async def complete_entity(self, result):
        await self.inner.complete_entity(self.change_outcome(result))


class ForgetsEntityStates(BatchMutant):
    """Delivers every batch without the state of its entity."""

    caught_by = "TestEntities.test_a_signal_reaches_the_entity_and_its_state_is_kept"

    def change_batch(self, item):
        return replace(item, state=None)


class ReversesOperations(BatchMutant):
    """Delivers the operations of a batch in the wrong order."""

    caught_by = "TestEntities.test_signals_keep_their_order"

    def change_batch(self, item):
        return replace(item, operations=list(reversed(item.operations)))


class LosesEntityResults(BatchMutant):
    """Answers a call without its result."""

    caught_by = "TestEntities.test_a_call_is_answered"

    def change_outcome(self, result):
        return replace(result, results=[replace(one, result=None) for one in result.results])


class FinishesPartialBatches(BatchMutant):
    """Takes an operation without a result for one that has none to give."""

    caught_by = "TestEntities.test_operations_without_a_result_come_again"

    def change_outcome(self, result):
        missing = len(result.operations) - len(result.results)
        return replace(result, results=[*result.results, *[EntityOperationResult()] * missing])


class EmptiesFailedBatches(BatchMutant):
    """Takes the failure of a batch for the success of its operations, and the state for deleted."""

    caught_by = "TestEntities.test_a_failed_batch_answers_its_callers"

    def change_outcome(self, result):
        if result.failure is None:
            return result
        done = [EntityOperationResult()] * len(result.operations)
        return replace(result, failure=None, results=done)


class DropsEntityActions(BatchMutant):
    """Commits a batch without what its entity sends and starts."""

    caught_by = "TestEntities.test_effects_of_a_batch_are_carried_out"

    def change_outcome(self, result):
        return replace(result, actions=())


class KeepsEmptyEntities(BatchMutant):
    """Stores "no state" as a state."""

    caught_by = "TestEntities.test_an_entity_without_state_is_gone"

    def change_outcome(self, result):
        return replace(result, state=result.state or "null")


class TakesAnyEntityToken(BatchMutant):
    """Commits a batch whatever its token says."""

    caught_by = "TestEntities.test_a_lost_batch_is_delivered_again"

    def change_batch(self, item):
        self.newest = item.completion_token
        return item

    def change_outcome(self, result):
        return replace(result, completion_token=self.newest)


class SignalsAtOnce(Mutant):
    """Ignores the time of a signal."""

    caught_by = "TestEntities.test_a_scheduled_signal_waits_for_its_time"

    async def signal_entity(self, instance_id, operation, **more):
        await self.inner.signal_entity(instance_id, operation, **{**more, "scheduled_time": None})


class IgnoresRequestIds(Mutant):
    """Takes a signal that is sent again for another one."""

    caught_by = "TestEntities.test_a_signal_that_is_sent_again_counts_once"

    def __init__(self, inner):
        super().__init__(inner)
        self.count = 0

    async def signal_entity(self, instance_id, operation, **more):
        self.count += 1
        more["request_id"] = f"{more.get('request_id')}-{self.count}"
        await self.inner.signal_entity(instance_id, operation, **more)


class AcceptsAnyEntityId(Mutant):
    """Takes what is no entity id."""

    caught_by = "TestEntities.test_ids_that_are_none_are_refused"

    async def signal_entity(self, instance_id, operation, **more):
        try:
            await self.inner.signal_entity(instance_id, operation, **more)
        except InvalidRequestError:
            return


class GrantsWithoutLocking(EpisodeMutant):
    """Grants every lock without locking anything."""

    caught_by = "TestEntityLocks.test_a_lock_keeps_others_out"

    def change_result(self, result):
        actions = [
            replace(one, lock_set=()) if isinstance(one, RequestEntityLock) else one for one in result.actions
        ]
        return replace(result, actions=actions)


class LocksTheFirstOnly(EpisodeMutant):
    """Locks the first entity of a lock set and forgets the others."""

    caught_by = "TestEntityLocks.test_a_lock_is_handed_on"

    def change_result(self, result):
        actions = [
            replace(one, lock_set=one.lock_set[:1]) if isinstance(one, RequestEntityLock) else one
            for one in result.actions
        ]
        return replace(result, actions=actions)


class KeepsLocksOfTheDead(Mutant):
    """Forgets to release the locks of an orchestration that ends."""

    caught_by = "TestEntityLocks.test_an_ended_orchestration_holds_no_lock"

    async def complete_orchestrator(self, result):
        # The end is hidden from the hub, which would release them; what the orchestration held stays so.
        actions = [one for one in result.actions if not isinstance(one, CompleteOrchestration)]
        await self.inner.complete_orchestrator(replace(result, actions=actions))


class AnswersAnyExecution(Mutant):
    """Answers the call of an older execution to the one that runs now."""

    caught_by = "TestEntities.test_an_answer_for_an_older_execution_is_dropped"

    async def complete_entity(self, result):
        await self.inner.complete_entity(result)
        for call in result.operations:
            if getattr(call, "parent_instance_id", None):
                await self.inner.raise_event(call.parent_instance_id, call.request_id)


class EntityLimitsAreNone(Mutant):
    """Ignores the limit of batches in flight."""

    caught_by = "TestEntities.test_a_stream_has_no_more_batches_than_its_limit"

    def work_items(self, options):
        return self.inner.work_items(replace(options, max_entities=0))


class EntityFiltersAreNone(Mutant):
    """Ignores the names of entities in a filter."""

    caught_by = "TestEntities.test_a_filter_names_entities"

    def work_items(self, options):
        return self.inner.work_items(replace(options, filters=None))


class ListsEntitiesBackwards(Mutant):
    """Lists the last entity first."""

    caught_by = "TestEntities.test_entities_can_be_read_and_are_no_instances"

    async def query_entities(self, query):
        page = await self.inner.query_entities(query)
        return replace(page, entities=list(reversed(page.entities)))


class IgnoresEntityPrefixes(Mutant):
    """Ignores the prefix of a query for entities."""

    caught_by = "TestEntities.test_entities_are_listed_by_prefix_page_by_page"

    async def query_entities(self, query):
        return await self.inner.query_entities(replace(query, instance_id_prefix=None))


class NeverPurgesEntities(Mutant):
    """Counts an entity as purged and leaves it."""

    caught_by = "TestEntities.test_an_entity_can_be_purged"

    async def purge_instances(self, request):
        return PurgeResult(int(request.instance_id == "@counter@a"), True)


class CleansEveryLock(Mutant):
    """Takes every lock for an orphan when it cleans."""

    caught_by = "TestEntityLocks.test_cleaning_takes_no_lock_that_is_held"

    async def clean_entity_storage(self, **options):
        for entity in (await self.inner.query_entities(EntityQuery(include_transient=True))).entities:
            if entity.locked_by is not None:
                await self.inner.force_terminate_instances([entity.locked_by])
        return await self.inner.clean_entity_storage(**options)


async def _unclosed(stream):
    while (item := await asyncio.shield(asyncio.ensure_future(anext(stream, None)))) is not None:
        yield item
