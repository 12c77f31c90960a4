// Entities with the JavaScript SDK of the protocol.
//   node entities.js HOST:PORT both|worker|client [SCENARIO...]
// The roles and the report are those of ../python_sdk/entities.py; so are the names that a worker runs.
"use strict";
const crypto = require("node:crypto");
const sdk = require("@microsoft/durabletask-js");
const [address, role] = process.argv.slice(2);
const Status = sdk.OrchestrationStatus;
const logger = new sdk.NoOpLogger();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const entity = (key = crypto.randomUUID()) => new sdk.EntityInstanceId("counter", key);

function check(condition, what) {
  if (!condition) throw new Error(`not as expected: ${what}`);
}

async function until(condition, what, seconds = 20) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(20);
  }
}

// --- what the worker runs ---------------------------------------------------------------------------------
class Counter extends sdk.TaskEntity {
  initializeState() {
    return 0;
  }
  add(amount) {
    this.state += amount;
    return this.state;
  }
  get() {
    return this.state;
  }
  add_and_fail(amount) {
    this.state += amount;
    throw new Error("on purpose");
  }
  pass_on(amount) {
    this.context.signalEntity(entity(`${this.context.id.key}-next`), "add", amount);
  }
  start_child(number) {
    return this.context.scheduleNewOrchestration("echo_number", number);
  }
}

const orchestrators = {
  async *echo_number(_ctx, number) {
    return number;
  },
  async *add_twice(ctx, key) {
    const first = yield ctx.entities.callEntity(entity(key), "add", 2);
    const second = yield ctx.entities.callEntity(entity(key), "add", 3);
    return [first, second];
  },
  async *signal_then_get(ctx, key) {
    for (let i = 0; i < 10; i++) ctx.entities.signalEntity(entity(key), "add", 1);
    return yield ctx.entities.callEntity(entity(key), "get");
  },
  async *call_what_fails(ctx, key) {
    try {
      yield ctx.entities.callEntity(entity(key), "add_and_fail", 5);
    } catch (error) {
      return [String(error.message), yield ctx.entities.callEntity(entity(key), "get")];
    }
  },
  async *transfer(ctx, input) {
    const [source, target] = input.keys.map(entity);
    const lock = yield ctx.entities.lockEntities(source, target);
    try {
      const have = yield ctx.entities.callEntity(source, "get");
      if (have < input.amount) return false;
      yield ctx.entities.callEntity(source, "add", -input.amount);
      yield ctx.entities.callEntity(target, "add", input.amount);
      return true;
    } finally {
      lock.release();
    }
  },
  async *hold_until_told(ctx, key) {
    const lock = yield ctx.entities.lockEntities(entity(key));
    ctx.setCustomStatus("locked");
    yield ctx.waitForExternalEvent("release");
    yield ctx.entities.callEntity(entity(key), "add", 1);
    lock.release();
    return "released";
  },
  async *signal_later(ctx, key) {
    const signalTime = new Date(ctx.currentUtcDateTime.getTime() + 500);
    ctx.entities.signalEntity(entity(key), "add", 7, { signalTime });
  },
};

function makeWorker() {
  const worker = new sdk.TaskHubGrpcWorker({ hostAddress: address, logger, shutdownTimeoutMs: 2000 });
  worker.addNamedEntity("counter", () => new Counter());
  for (const [name, run] of Object.entries(orchestrators)) worker.addNamedOrchestrator(name, run);
  return worker;
}

// --- what the client does ---------------------------------------------------------------------------------
async function finish(c, instanceId, status = Status.COMPLETED) {
  const state = await c.waitForOrchestrationCompletion(instanceId, true, 30);
  check(state && state.runtimeStatus === status, JSON.stringify(state));
  return state;
}
const output = (state) => JSON.parse(state.serializedOutput);
const run = async (c, name, input) => output(await finish(c, await c.scheduleNewOrchestration(name, input)));
async function stateOf(c, id) {
  const found = await c.getEntity(id);
  return found?.includesState ? found.state : undefined;
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const scenarios = {
  async signals_from_a_client(c) {
    const one = entity();
    check(!(await c.getEntity(one)), "not there yet");
    for (let i = 0; i < 20; i++) await c.signalEntity(one, "add", 1);
    await until(async () => (await stateOf(c, one)) === 20, "twenty signals");
    const found = await c.getEntity(one);
    check(found.id.toString() === one.toString() && found.backlogQueueSize === 0, JSON.stringify(found));
    check(Math.abs(Date.now() - found.lastModifiedTime.getTime()) < 60000 && !found.lockedBy, "metadata");
    check((await c.getEntity(one, false)).includesState === false, "without state");
  },
  async calls_from_an_orchestration(c) {
    const one = entity();
    check(same(await run(c, "add_twice", one.key), [2, 5]), "results of operations");
    check((await stateOf(c, one)) === 5, "state");
  },
  async signals_come_before_a_later_call(c) {
    check((await run(c, "signal_then_get", entity().key)) === 10, "order of one sender");
  },
  async an_operation_that_fails_changes_nothing(c) {
    const one = entity();
    await c.signalEntity(one, "add", 1);
    const [text, value] = await run(c, "call_what_fails", one.key);
    check(text.includes("on purpose") && value === 1, `${text} ${value}`);
  },
  async delayed_signals(c) {
    const [one, two] = [entity(), entity()];
    await c.signalEntity(one, "add", 3, { signalTime: new Date(Date.now() + 500) });
    await finish(c, await c.scheduleNewOrchestration("signal_later", two.key));
    check((await stateOf(c, one)) === undefined, "not yet");
    await until(async () => (await stateOf(c, one)) === 3, "signal of a client");
    await until(async () => (await stateOf(c, two)) === 7, "signal of an orchestration");
  },
  async transfers_under_locks(c) {
    const [first, second] = [entity(), entity()];
    await c.signalEntity(first, "add", 100);
    await c.signalEntity(second, "add", 100);
    const ids = [];
    for (let i = 0; i < 5; i++) {
      ids.push(await c.scheduleNewOrchestration("transfer", { keys: [first.key, second.key], amount: 5 }));
      ids.push(await c.scheduleNewOrchestration("transfer", { keys: [second.key, first.key], amount: 3 }));
    }
    for (const id of ids) check(output(await finish(c, id)) === true, "all went through");
    check(same([await stateOf(c, first), await stateOf(c, second)], [90, 110]), "sum");
    check((await run(c, "transfer", { keys: [first.key, second.key], amount: 1000 })) === false, "left early");
    check((await run(c, "transfer", { keys: [first.key, second.key], amount: 1 })) === true, "released");
  },
  async a_lock_holds_others_back(c) {
    const one = entity();
    await c.signalEntity(one, "add", 10);
    await until(async () => (await stateOf(c, one)) === 10, "there");
    const holder = await c.scheduleNewOrchestration("hold_until_told", one.key);
    const status = async () => (await c.getOrchestrationState(holder)).serializedCustomStatus;
    await until(async () => (await status()) === '"locked"', "locked");
    check((await c.getEntity(one)).lockedBy === holder, "locked by its holder");
    await c.signalEntity(one, "add", 100);
    await sleep(300);
    check((await stateOf(c, one)) === 10, "the signal waits");
    await c.raiseOrchestrationEvent(holder, "release");
    check(output(await finish(c, holder)) === "released", "holder");
    await until(async () => (await stateOf(c, one)) === 111, "the signal after the section");
  },
  async a_lock_ends_with_its_holder(c) {
    const one = entity();
    await c.signalEntity(one, "add", 1);
    const holder = await c.scheduleNewOrchestration("hold_until_told", one.key);
    const status = async () => (await c.getOrchestrationState(holder)).serializedCustomStatus;
    await until(async () => (await status()) === '"locked"', "locked");
    await c.terminateOrchestration(holder, null);
    await finish(c, holder, Status.TERMINATED);
    await c.signalEntity(one, "add", 1);
    await until(async () => (await stateOf(c, one)) === 2, "the lock is gone");
  },
  async entities_reach_others(c) {
    const one = entity();
    await c.signalEntity(one, "pass_on", 4);
    await until(async () => (await stateOf(c, entity(`${one.key}-next`))) === 4, "signal to another");
    await c.signalEntity(one, "start_child", 8);
    await until(async () => {
      for await (const state of c.getAllInstances({ fetchInputsAndOutputs: true })) {
        if (state.name === "echo_number" && state.serializedOutput === "8") return true;
      }
    }, "an orchestration");
  },
  async deleted_entities(c) {
    const one = entity();
    await c.signalEntity(one, "add", 1);
    await until(async () => (await stateOf(c, one)) === 1, "there");
    await c.signalEntity(one, "delete");
    await until(async () => (await stateOf(c, one)) === undefined, "gone");
  },
  async listings(c) {
    const prefix = crypto.randomUUID();
    const ids = [0, 1, 2, 3, 4].map((n) => entity(`${prefix}-${n}`));
    for (const one of ids) await c.signalEntity(one, "add", 1);
    for (const one of ids) await until(async () => (await stateOf(c, one)) === 1, "five");
    const found = [];
    for await (const one of c.getEntities({ instanceIdStartsWith: `counter@${prefix}`, pageSize: 2 })) {
      found.push([one.id.toString(), one.state]);
    }
    check(same(found, ids.map((one) => [one.toString(), 1])), JSON.stringify(found));
    for await (const state of c.getAllInstances()) check(!state.instanceId.startsWith("@"), state.instanceId);
    check((await c.cleanEntityStorage()).orphanedLocksReleased === 0, "nothing to clean");
  },
};

(async () => {
  const worker = role === "client" ? undefined : makeWorker();
  await worker?.start();
  if (role === "worker") {
    console.log("ready");
    process.stdin.resume();
    process.stdin.on("end", () => process.exit(0));
    return;
  }
  const client = new sdk.TaskHubGrpcClient({ hostAddress: address, logger });
  const wanted = process.argv.slice(4).length ? process.argv.slice(4) : Object.keys(scenarios);
  for (const name of wanted) {
    const begun = Date.now();
    let line;
    try {
      await scenarios[name](client);
      line = { name, ok: true, detail: `${(Date.now() - begun) / 1000} s` };
    } catch (error) {
      line = { name, ok: false, detail: String(error?.stack ?? error) };
    }
    console.log(JSON.stringify(line));
  }
  process.exit(0);
})();
