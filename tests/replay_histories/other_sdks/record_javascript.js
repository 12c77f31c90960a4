// Records histories with the JavaScript SDK of the protocol; record.py runs it.
//   node record_javascript.js HOST:PORT FOLDER
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const sdk = require("@microsoft/durabletask-js");
const [address, folder] = process.argv.slice(2);
const failures = ["slow", "down"];

const activities = {
  increment: async (_ctx, n) => n + 1,
  square: async (_ctx, n) => n * n,
  charge: async () => {
    if (failures.length) throw new Error(failures.shift());
    return "receipt";
  },
  broken: async () => {
    throw new TypeError("no");
  },
};
const orchestrators = {
  async *chain(ctx, n) {
    for (let i = 0; i < 3; i++) n = yield ctx.callActivity("increment", n);
    return n;
  },
  async *fan_out(ctx, numbers) {
    const results = yield sdk.whenAll(numbers.map((n) => ctx.callActivity("square", n)));
    return results.reduce((a, b) => a + b, 0);
  },
  async *retried(ctx, amount) {
    const retry = new sdk.RetryPolicy({ maxNumberOfAttempts: 3, firstRetryIntervalInMilliseconds: 5000, backoffCoefficient: 2 });
    return yield ctx.callActivity("charge", amount, { retry });
  },
  async *approval(ctx, amount) {
    const decision = ctx.waitForExternalEvent("Decision");
    const late = ctx.createTimer(3 * 24 * 3600);
    const winner = yield sdk.whenAny([decision, late]);
    const word = winner === decision ? decision.getResult() : "nobody";
    yield ctx.createTimer(3600);
    return `${word}: ${amount}`;
  },
  async *parent(ctx, n) {
    const first = yield ctx.callSubOrchestrator("chain", n);
    const other = ctx.callSubOrchestrator("fan_out", [first, 2]);
    try {
      yield ctx.callActivity("broken");
    } catch {
      return [first, yield other];
    }
    return [];
  },
  async *failing(ctx) {
    ctx.setCustomStatus("about to fail");
    yield ctx.callActivity("broken");
  },
};

async function main() {
  const logger = new sdk.NoOpLogger();
  const worker = new sdk.TaskHubGrpcWorker({ hostAddress: address, logger });
  for (const [name, f] of Object.entries(orchestrators)) worker.addNamedOrchestrator(name, f);
  for (const [name, f] of Object.entries(activities)) worker.addNamedActivity(name, f);
  await worker.start();
  const client = new sdk.TaskHubGrpcClient({ hostAddress: address, logger });
  const inputs = { chain: 1, fan_out: [1, 2, 3], retried: 5, approval: 7, parent: 1, failing: null };
  for (const [name, input] of Object.entries(inputs)) {
    await client.scheduleNewOrchestration(name, input, name);
    if (name === "approval") await client.raiseOrchestrationEvent(name, "Decision", "yes");
    await client.waitForOrchestrationCompletion(name, true, 60);
    const events = await client.getOrchestrationHistory(name);
    for (const e of events) if (e.failureDetails) delete e.failureDetails._stackTrace; // it names the machine
    fs.writeFileSync(path.join(folder, `${name}.json`), "[\n" + events.map((e) => JSON.stringify(e)).join(",\n") + "\n]\n");
  }
  await worker.stop();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
