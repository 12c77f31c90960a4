// Scenarios for the JavaScript SDK of the protocol: its client and worker, whatever server listens.
//   node suite.js HOST:PORT [SCENARIO...]
// Prints one JSON object a line: {"name", "ok", "detail"}.
"use strict";
const crypto = require("node:crypto");
const sdk = require("@microsoft/durabletask-js");
const address = process.argv[2];
const Status = sdk.OrchestrationStatus;
const logger = new sdk.NoOpLogger();
const id = () => crypto.randomUUID();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function check(condition, what) {
  if (!condition) throw new Error(`not as expected: ${what}`);
}

// --- what the worker runs ---------------------------------------------------------------------------------
const attempts = new Map();
const gates = { broken: true };
const activities = {
  plusOne: async (_ctx, n) => n + 1,
  echo: async (_ctx, value) => value,
  flaky: async (_ctx, key) => {
    attempts.set(key, (attempts.get(key) ?? 0) + 1);
    if (attempts.get(key) < 3) throw new Error(`attempt ${attempts.get(key)}`);
    return attempts.get(key);
  },
  countUp: async (_ctx, key) => {
    attempts.set(key, (attempts.get(key) ?? 0) + 1);
    return attempts.get(key);
  },
  brokenUntilMended: async (_ctx, value) => {
    if (gates.broken) throw new Error("still broken");
    return value;
  },
};
const orchestrators = {
  async *chain(ctx, n) {
    for (let i = 0; i < 3; i++) n = yield ctx.callActivity("plusOne", n);
    return n;
  },
  async *fanOut(ctx, count) {
    const tasks = [];
    for (let i = 0; i < count; i++) tasks.push(ctx.callActivity("plusOne", i));
    const results = yield sdk.whenAll(tasks);
    return results.reduce((a, b) => a + b, 0);
  },
  async *parent(ctx, n) {
    const first = yield ctx.callSubOrchestrator("chain", n);
    return yield ctx.callSubOrchestrator("chain", first, { instanceId: `${ctx.instanceId}-second` });
  },
  async *failingChild() {
    throw new Error("the child fails");
  },
  async *parentOfFailing(ctx) {
    try {
      yield ctx.callSubOrchestrator("failingChild");
    } catch (error) {
      return String(error.message);
    }
    return "no failure";
  },
  async *timer(ctx, seconds) {
    const started = ctx.currentUtcDateTime.getTime();
    yield ctx.createTimer(seconds);
    return (ctx.currentUtcDateTime.getTime() - started) / 1000;
  },
  async *waitForTwo(ctx) {
    const first = yield ctx.waitForExternalEvent("first");
    const second = yield ctx.waitForExternalEvent("second");
    return [first, second];
  },
  async *approval(ctx, seconds) {
    const event = ctx.waitForExternalEvent("approval");
    const deadline = ctx.createTimer(seconds);
    const winner = yield sdk.whenAny([event, deadline]);
    return winner === event ? "approved" : "timed out";
  },
  async *counter(ctx, n) {
    if (n < 5) {
      n = yield ctx.callActivity("plusOne", n);
      ctx.continueAsNew(n, true);
      return;
    }
    const event = yield ctx.waitForExternalEvent("done");
    return [n, event];
  },
  async *retrying(ctx, key) {
    const retry = new sdk.RetryPolicy({ maxNumberOfAttempts: 4, firstRetryIntervalInMilliseconds: 20 });
    return yield ctx.callActivity("flaky", key, { retry });
  },
  async *rewindable(ctx, value) {
    const first = yield ctx.callActivity("echo", value);
    return yield ctx.callActivity("brokenUntilMended", first);
  },
  async *rewindableParent(ctx, value) {
    return yield ctx.callSubOrchestrator("rewindable", value);
  },
  async *sender(ctx, target) {
    ctx.sendEvent(target, "first", "sent");
    ctx.sendEvent(target, "second", { n: 2 });
    ctx.setCustomStatus("sent");
    yield ctx.createTimer(0.01);
    return "ok";
  },
  async *waitingParent(ctx, childId) {
    yield ctx.callSubOrchestrator("waitForTwo", null, { instanceId: childId });
  },
  async *retryingChild(ctx, key) {
    const retry = new sdk.RetryPolicy({ maxNumberOfAttempts: 4, firstRetryIntervalInMilliseconds: 20 });
    return yield ctx.callSubOrchestrator("flakyChild", key, { retry });
  },
  async *flakyChild(ctx, key) {
    const n = yield ctx.callActivity("countUp", key);
    if (n < 3) throw new Error(`attempt ${n}`);
    return n;
  },
  async *race(ctx, count) {
    const tasks = [ctx.createTimer(3600), ctx.waitForExternalEvent("never")];
    for (let i = 0; i < count; i++) tasks.push(ctx.callActivity("plusOne", i));
    const winner = yield sdk.whenAny(tasks);
    return winner.getResult();
  },
  async *tree(ctx, depth) {
    if (!depth) return yield ctx.waitForExternalEvent("leave");
    const tasks = [];
    for (let i = 0; i < 2; i++) {
      tasks.push(ctx.callSubOrchestrator("tree", depth - 1, { instanceId: `${ctx.instanceId}.${i}` }));
    }
    return yield sdk.whenAll(tasks);
  },
  async *collecting(ctx, seen) {
    seen = [...(seen ?? []), yield ctx.waitForExternalEvent("item")];
    if (seen.length < 10) return ctx.continueAsNew(seen, true);
    return seen;
  },
  async *unregistered(ctx) {
    try {
      yield ctx.callActivity("nobody registered this");
    } catch (error) {
      return String(error.message);
    }
  },
  async *versionOf(ctx) {
    return ctx.version;
  },
};

function makeWorker(names = Object.keys(orchestrators), options = {}) {
  const worker = new sdk.TaskHubGrpcWorker({ hostAddress: address, logger, shutdownTimeoutMs: 2000, ...options });
  for (const name of names) worker.addNamedOrchestrator(name, orchestrators[name]);
  for (const [name, fn] of Object.entries(activities)) worker.addNamedActivity(name, fn);
  return worker;
}

async function finish(client, instanceId, status = Status.COMPLETED, seconds = 20) {
  const state = await client.waitForOrchestrationCompletion(instanceId, true, seconds);
  check(state, "a state");
  check(state.runtimeStatus === status, `status ${state.runtimeStatus}, ${JSON.stringify(state.failureDetails)}`);
  return state;
}
const output = (state) => (state.serializedOutput ? JSON.parse(state.serializedOutput) : undefined);
async function run(client, name, input, options) {
  return output(await finish(client, await client.scheduleNewOrchestration(name, input, options)));
}
async function until(probe, what, seconds = 15) {
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    if (await probe()) return;
    await sleep(20);
  }
  throw new Error(`never: ${what}`);
}
async function collect(pageable) {
  const items = [];
  for await (const item of pageable) items.push(item);
  return items;
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

let worker = makeWorker();
async function restartWorker() {
  worker = makeWorker();
  await worker.start();
}

// --- scenarios ---------------------------------------------------------------------------------------------
const scenarios = {
  async chaining(c) {
    check((await run(c, "chain", 4)) === 7, "4 + 3");
  },
  async fanning_out(c) {
    check((await run(c, "fanOut", 30)) === 465, "sum of 30");
  },
  async sub_orchestrations(c) {
    check((await run(c, "parent", 0)) === 6, "two children");
    check((await run(c, "parentOfFailing", null)).includes("the child fails"), "failure of the child");
  },
  async timers(c) {
    check((await run(c, "timer", 0.3)) >= 0.29, "the orchestration clock moved");
  },
  async external_events(c) {
    const instanceId = await c.scheduleNewOrchestration("waitForTwo");
    await c.raiseOrchestrationEvent(instanceId, "SECOND", { b: 2 });
    await c.raiseOrchestrationEvent(instanceId, "First", "a");
    check(same(output(await finish(c, instanceId)), ["a", { b: 2 }]), "events in either order, any case");
  },
  async event_against_timer(c) {
    check((await run(c, "approval", 0.2)) === "timed out", "the timer wins");
    const instanceId = await c.scheduleNewOrchestration("approval", 60);
    await c.raiseOrchestrationEvent(instanceId, "approval", 1);
    check(output(await finish(c, instanceId)) === "approved", "the event wins");
  },
  async continue_as_new(c) {
    const instanceId = await c.scheduleNewOrchestration("counter", 0);
    await c.raiseOrchestrationEvent(instanceId, "done", "fin");
    check(same(output(await finish(c, instanceId)), [5, "fin"]), "five generations keep the event");
  },
  async retries(c) {
    check((await run(c, "retrying", id())) === 3, "third attempt");
  },
  async suspend_and_resume(c) {
    const instanceId = await c.scheduleNewOrchestration("waitForTwo");
    await c.waitForOrchestrationStart(instanceId, false, 10);
    await c.suspendOrchestration(instanceId);
    await until(
      async () => (await c.getOrchestrationState(instanceId)).runtimeStatus === Status.SUSPENDED,
      "suspended",
    );
    await c.raiseOrchestrationEvent(instanceId, "first", 1);
    await c.raiseOrchestrationEvent(instanceId, "second", 2);
    await sleep(200);
    check((await c.getOrchestrationState(instanceId)).runtimeStatus === Status.SUSPENDED, "stays suspended");
    await c.resumeOrchestration(instanceId);
    check(same(output(await finish(c, instanceId)), [1, 2]), "goes on");
  },
  async terminate(c) {
    const instanceId = await c.scheduleNewOrchestration("waitForTwo");
    await c.waitForOrchestrationStart(instanceId, false, 10);
    await c.terminateOrchestration(instanceId, { why: "enough" });
    check(same(output(await finish(c, instanceId, Status.TERMINATED)), { why: "enough" }), "the output");
  },
  async terminate_recursively(c) {
    const childId = id();
    const instanceId = await c.scheduleNewOrchestration("waitingParent", childId);
    await until(async () => await c.getOrchestrationState(childId), "child exists");
    await c.terminateOrchestration(instanceId, sdk.terminateOptions({ recursive: true }));
    await finish(c, instanceId, Status.TERMINATED);
    await finish(c, childId, Status.TERMINATED);
  },
  async query(c) {
    const prefix = `q-${id()}-`;
    for (let n = 0; n < 7; n++) {
      await finish(c, await c.scheduleNewOrchestration("chain", n, { instanceId: `${prefix}${n}` }));
    }
    const found = await collect(
      c.getAllInstances({
        instanceIdPrefix: prefix, statuses: [Status.COMPLETED], pageSize: 3, fetchInputsAndOutputs: true,
        createdFrom: new Date(Date.now() - 60_000),
      }),
    );
    check(same(found.map((s) => s.instanceId), [0, 1, 2, 3, 4, 5, 6].map((n) => prefix + n)), "paged, by creation");
    check(same(found.map(output), [3, 4, 5, 6, 7, 8, 9]), "outputs");
  },
  async list_ids(c) {
    const prefix = `l-${id()}-`;
    const from = new Date(Date.now() - 1000);
    for (let n = 0; n < 5; n++) {
      await finish(c, await c.scheduleNewOrchestration("chain", n, { instanceId: `${prefix}${n}` }));
    }
    const ids = [];
    let lastInstanceKey;
    do {
      const page = await c.listInstanceIds({ completedTimeFrom: from, pageSize: 2, lastInstanceKey });
      ids.push(...page.values);
      lastInstanceKey = page.continuationToken;
    } while (lastInstanceKey);
    check(same(ids.filter((i) => i.startsWith(prefix)), [0, 1, 2, 3, 4].map((n) => prefix + n)), "every id once");
  },
  async purge(c) {
    const instanceId = await c.scheduleNewOrchestration("parent", 0);
    await finish(c, instanceId);
    const result = await c.purgeOrchestration(instanceId, { recursive: true });
    check(result.deletedInstanceCount === 3, `parent and two children: ${JSON.stringify(result)}`);
    check((await c.getOrchestrationState(instanceId)) === undefined, "gone");
    const criteria = new sdk.PurgeInstanceCriteria();
    const from = new Date();
    criteria.setCreatedTimeFrom(from);
    criteria.setRuntimeStatusList([Status.COMPLETED]);
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push(await c.scheduleNewOrchestration("chain", n));
    for (const one of ids) await finish(c, one);
    check((await c.purgeOrchestration(criteria)).deletedInstanceCount >= 3, "by filter");
    for (const one of ids) check((await c.getOrchestrationState(one)) === undefined, "all gone");
  },
  async rewind(c) {
    gates.broken = true;
    const instanceId = await c.scheduleNewOrchestration("rewindable", "v");
    await finish(c, instanceId, Status.FAILED);
    gates.broken = false;
    await c.rewindInstance(instanceId, "mended");
    check(output(await finish(c, instanceId)) === "v", "goes on after the failure");
  },
  async rewind_children(c) {
    gates.broken = true;
    const instanceId = await c.scheduleNewOrchestration("rewindableParent", "v");
    await finish(c, instanceId, Status.FAILED);
    gates.broken = false;
    await c.rewindInstance(instanceId, "mended");
    check(output(await finish(c, instanceId)) === "v", "parent and child go on");
  },
  async restart(c) {
    const instanceId = await c.scheduleNewOrchestration("chain", 1);
    await finish(c, instanceId);
    check((await c.restartOrchestration(instanceId)) === instanceId, "same id");
    check(output(await finish(c, instanceId)) === 4, "same input");
    const other = await c.restartOrchestration(instanceId, true);
    check(other !== instanceId, "new id");
    check(output(await finish(c, other)) === 4, "same input under the new id");
  },
  async history(c) {
    const instanceId = await c.scheduleNewOrchestration("chain", 1);
    await finish(c, instanceId);
    const kinds = (await c.getOrchestrationHistory(instanceId)).map((event) => event.type);
    check(kinds.filter((k) => k === sdk.HistoryEventType.TaskScheduled).length === 3, kinds.join());
    check(kinds.includes(sdk.HistoryEventType.ExecutionCompleted), kinds.join());
  },
  async long_history(c) {
    const instanceId = await c.scheduleNewOrchestration("fanOut", 1500);
    await finish(c, instanceId, Status.COMPLETED, 40);
    check((await c.getOrchestrationHistory(instanceId)).length >= 3000, "streamed in chunks");
  },
  async tags_and_custom_status(c) {
    const instanceId = await c.scheduleNewOrchestration("waitForTwo", null, { tags: { team: "red" } });
    await c.waitForOrchestrationStart(instanceId, false, 10);
    const sender = await finish(c, await c.scheduleNewOrchestration("sender", instanceId));
    check(JSON.parse(sender.serializedCustomStatus) === "sent", "custom status");
    const state = await finish(c, instanceId);
    check(same(output(state), ["sent", { n: 2 }]), "events from an orchestration");
    check(state.tags.team === "red", "tags");
  },
  async reuse_of_ids(c) {
    const instanceId = id();
    await finish(c, await c.scheduleNewOrchestration("chain", 1, { instanceId }));
    let refused = false;
    await c.scheduleNewOrchestration("chain", 2, { instanceId }).catch((error) => {
      refused = /exists|6 ALREADY/i.test(String(error));
    });
    check(refused, "the id was taken");
  },
  async scheduled_start(c) {
    const at = new Date(Date.now() + 600);
    const instanceId = await c.scheduleNewOrchestration("chain", 1, { startAt: at });
    check((await c.getOrchestrationState(instanceId)).runtimeStatus === Status.PENDING, "not yet");
    await finish(c, instanceId);
    check(Date.now() >= at.getTime(), "not before its time");
  },
  async versioning(c) {
    check((await run(c, "versionOf", null, { version: "1.5" })) === "1.5", "the version travels");
    await worker.stop();
    const other = makeWorker(["versionOf"], {
      versioning: {
        version: "2.0", matchStrategy: sdk.VersionMatchStrategy.Strict,
        failureStrategy: sdk.VersionFailureStrategy.Reject,
      },
    });
    await other.start();
    const old = await c.scheduleNewOrchestration("versionOf", null, { version: "1.0" });
    check((await run(c, "versionOf", null, { version: "2.0" })) === "2.0", "accepted");
    check(!(await c.getOrchestrationState(old)).runtimeStatus !== Status.FAILED, "left to another worker");
    await other.stop();
    await restartWorker();
    check(output(await finish(c, old)) === "1.0", "taken by another worker");
  },
  async filters(c) {
    await worker.stop();
    const other = makeWorker(["versionOf"], { workItemFilters: "auto" });
    await other.start();
    const foreign = await c.scheduleNewOrchestration("chain", 1);
    await finish(c, await c.scheduleNewOrchestration("versionOf"));
    check((await c.getOrchestrationState(foreign)).runtimeStatus === Status.PENDING, "not delivered");
    await other.stop();
    await restartWorker();
    check(output(await finish(c, foreign)) === 4, "delivered to a worker that takes it");
  },
  async retries_of_children(c) {
    check((await run(c, "retryingChild", id())) === 3, "third attempt");
  },
  async losers_of_a_race(c) {
    const won = await run(c, "race", 5);
    check(won >= 1 && won <= 5, "an activity wins");
  },
  async large_fan_out(c) {
    check((await run(c, "fanOut", 500)) === (500 * 501) / 2, "sum of 500");
  },
  async terminate_a_tree(c) {
    const root = `t-${id()}`;
    await c.scheduleNewOrchestration("tree", 3, { instanceId: root });
    await until(async () => await c.getOrchestrationState(`${root}.1.1.1`), "the last leaf");
    await c.terminateOrchestration(root, sdk.terminateOptions({ recursive: true }));
    for (const name of ["", ".0", ".1", ".0.1", ".1.0.1", ".1.1.1"]) {
      await finish(c, root + name, Status.TERMINATED);
    }
  },
  async events_over_generations(c) {
    const instanceId = await c.scheduleNewOrchestration("collecting");
    for (let i = 0; i < 10; i++) await c.raiseOrchestrationEvent(instanceId, "item", i);
    const found = output(await finish(c, instanceId));
    check(same(found, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), JSON.stringify(found));
  },
  async suspended_before_the_start(c) {
    const startAt = new Date(Date.now() + 400);
    const instanceId = await c.scheduleNewOrchestration("waitForTwo", null, { startAt });
    await c.suspendOrchestration(instanceId);
    await c.raiseOrchestrationEvent(instanceId, "first", 1);
    await c.raiseOrchestrationEvent(instanceId, "second", 2);
    const status = async () => (await c.getOrchestrationState(instanceId)).runtimeStatus;
    await until(async () => (await status()) === Status.SUSPENDED, "suspended");
    await sleep(200);
    check((await status()) === Status.SUSPENDED, "events wait");
    await c.resumeOrchestration(instanceId);
    check(same(output(await finish(c, instanceId)), [1, 2]), "events were kept");
  },
  async terminated_while_suspended(c) {
    const instanceId = await c.scheduleNewOrchestration("waitForTwo");
    await c.waitForOrchestrationStart(instanceId, false, 10);
    await c.suspendOrchestration(instanceId);
    await c.terminateOrchestration(instanceId, "gone");
    check(output(await finish(c, instanceId, Status.TERMINATED)) === "gone", "output");
  },
  async missing_instances(c) {
    check(!(await c.getOrchestrationState("missing")), "no state");
    check((await c.purgeOrchestration("missing")).deletedInstanceCount === 0, "nothing to purge");
    await c.terminateOrchestration("missing");
    for (const call of [
      () => c.raiseOrchestrationEvent("missing", "e"),
      () => c.suspendOrchestration("missing"),
      () => c.restartOrchestration("missing"),
      () => c.rewindInstance("missing", "why"),
    ]) {
      let error;
      try { await call(); } catch (caught) { error = caught; }
      check(error, `it is missing: ${call}`);
    }
  },
  async names_nobody_registered(c) {
    check((await run(c, "unregistered")).includes("nobody registered this"), "an activity");
    const state = await finish(c, await c.scheduleNewOrchestration("unheard of"), Status.FAILED);
    check(JSON.stringify(state.failureDetails ?? state).includes("unheard of"), "an orchestrator");
  },
  async two_workers(c) {
    const other = makeWorker();
    await other.start();
    const ids = [];
    for (let i = 0; i < 40; i++) ids.push(await c.scheduleNewOrchestration("chain", i));
    for (let i = 0; i < 40; i++) check(output(await finish(c, ids[i])) === i + 3, "all done");
    await other.stop();
  },
  async worker_lost_in_the_middle(c) {
    const instanceId = await c.scheduleNewOrchestration("timer", 0.4);
    await c.waitForOrchestrationStart(instanceId, false, 10);
    await worker.stop();
    await sleep(600);
    await restartWorker();
    await finish(c, instanceId);
  },
};

(async () => {
  const wanted = process.argv.slice(3).length ? process.argv.slice(3) : Object.keys(scenarios);
  const client = new sdk.TaskHubGrpcClient({ hostAddress: address, logger });
  await worker.start();
  let failed = 0;
  for (const name of wanted) {
    const begun = Date.now();
    let line;
    try {
      await scenarios[name](client);
      line = { name, ok: true, detail: `${(Date.now() - begun) / 1000} s` };
    } catch (error) {
      failed++;
      line = { name, ok: false, detail: String(error?.stack ?? error) };
    }
    console.log(JSON.stringify(line));
  }
  await worker.stop();
  process.exit(failed ? 1 : 0);
})();
