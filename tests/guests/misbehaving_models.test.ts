/**
 * Device models that do what they must not, over the real socket and in the real shared memory. Beside each runs another
 * one in a Worker: what it answers is checked by the guest, and it answers as if nothing were.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boot } from "xenolith/testing";
import { BUFIOREQ, type Bufioreq, RANGE, STATE } from "../../src/ioreq/abi.ts";
import { holdings } from "../domain/gate_client.ts";
import { ANY_KVM, repetitions, testWith } from "../support/capabilities.ts";
import {
  ALL,
  BYSTANDERS_OWN,
  CULPRIT,
  LOST_MS,
  ROUNDS,
  served,
  Stage,
  turn,
  unhandled,
  VICTIMS,
  WINDOW,
  WITNESS,
} from "../support/misbehaving_stage.ts";
import { CARRIERS, garbage, MISBEHAVIOURS } from "../support/misbehaviours.ts";
import { PlayedModel } from "../support/models/misbehaving.ts";
import { PORT_510 } from "../support/real_mode.ts";

const { READY, INPROCESS, IORESP_READY } = STATE;

for (const [name, row] of Object.entries(MISBEHAVIOURS)) {
  const { options, carriers = CARRIERS, attaching, prepare, play, crash, gone = 0, unhandled: refused = 0 } = row;
  for (const carrier of carriers) {
    testWith([ANY_KVM], `a device model that ${name} (${carrier})`, async () => {
      await using stage = new Stage(WINDOW, attaching);
      const [model] = await stage.start({ ...options, carrier }, 1, prepare);
      await play(stage, model);
      await stage.toTheEnd();
      const { vm } = stage, { status, reason } = await vm.exited;
      if (crash !== undefined) {
        assertEquals(status, 125, reason);
        assertMatch(reason, crash);
        assertEquals(served(vm, WITNESS), BYSTANDERS_OWN);
        return;
      }
      assertEquals(status, 0, `${reason}\n${vm.console.text}`);
      const nobodys = unhandled(vm, CULPRIT);
      if (refused !== "any") assertEquals(nobodys, refused);
      const lost = ALL - served(vm, WITNESS) - served(vm, CULPRIT) - nobodys;
      const [least, most] = typeof gone === "number" ? [gone, gone] : gone;
      assert(lost >= least && lost <= most, `${lost} requests without an answer, not ${least} to ${most}`);
    });
  }
}

const VIDEO_MEMORY = 0xa_0000;
for (const [handling, bufioreq] of Object.entries(BUFIOREQ) as [string, Bufioreq][]) {
  if (bufioreq === BUFIOREQ.OFF) continue;
  testWith([ANY_KVM], `a device model that writes garbage into its buffered ring (${handling})`, async () => {
    await using stage = new Stage(VIDEO_MEMORY, { bufioreq });
    const [model] = await stage.start({}, 1, ({ ringWords }) => ringWords!.fill(-1));
    let salt = 0;
    await stage.toTheEnd(() => {
      const words = new Int32Array(garbage(model.ringWords!.byteLength, salt++).buffer);
      model.ringWords!.set(words);
      if (salt % 2 === 0) model.ringWords![1] = model.ringWords![0] + salt; // not always full
      model.serve();
    });
    const { status, reason } = await stage.vm.exited;
    assertEquals(status, 0, `${reason}\n${stage.vm.console.text}`);
    assertEquals(unhandled(stage.vm, CULPRIT), 0);
  });
}

/** Two listen, and the first model's connection has two ends. */
const PACKET_SOCKETS = 4;

/** What a closed connection could leave behind. */
function held() {
  const mapped = Deno.readTextFileSync("/proc/self/maps").split("\n").filter((line) => line.includes("/memfd:"));
  return { ...holdings(), mappedFiles: mapped.length };
}

for (const carrier of CARRIERS) {
  for (const hold of [false, true]) {
    const name =
      `a device model that comes and goes while vCPUs wait leaves nothing behind (${carrier}, hold: ${hold})`;
    testWith([ANY_KVM], name, async () => {
      const victim = VICTIMS[0], generations = repetitions(40), warmUp = 2;
      await using stage = new Stage();
      // The model at the first socket stays, and has vCPUs wait all the time; the one at the second comes and goes.
      const [first, second] = await stage.start({
        carrier,
        hold,
        cmdline: `rounds=${2 * (generations + warmUp) + ROUNDS}`,
      }, 2);
      await stage.until("requests", () => VICTIMS.every((vcpu) => second.slots.state(vcpu) === READY));
      second[Symbol.dispose]();
      const generation = async () => {
        if (!hold) await stage.until("a request", () => first.slots.state(victim) === READY);
        using model = await stage.attach(2);
        await stage.claim(model, victim);
        await model.setEnabled(true);
        // Without hold the one that came before has left its request to nobody, and the next has come to the first.
        if (!hold) first.answer(victim);
        await stage.until("a request", () => model.slots.state(victim) === READY);
      };
      for (let count = 0; count < warmUp; count++) await generation();
      await stage.until("the gate's news", () => holdings().packetSockets === PACKET_SOCKETS);
      const before = held();
      for (let count = 0; count < generations; count++) await generation();
      await stage.until("the gate's news", () => holdings().packetSockets === PACKET_SOCKETS);
      assertEquals(held(), before);
      const last = hold ? await stage.attach(2) : first;
      await stage.toTheEnd(() => {
        first.serve();
        last.serve();
      });
      const { status, reason } = await stage.vm.exited;
      assertEquals(status, 0, `${reason}\n${stage.vm.console.text}`);
    });
  }
}

/** What becomes of a read that waits, and what the guest reads: the status that it chooses. */
const READS: Record<
  string,
  readonly [play: (model: PlayedModel) => void | Promise<void>, statuses: readonly number[]]
> = {
  "is answered": [(model) => {
    model.slots.setData(0, 0xffff_ff07, -1);
    model.answer(0);
  }, [7]],
  "was not taken when the model dies": [(model) => model[Symbol.dispose](), [63]],
  "was begun when the model dies": [(model) => {
    model.slots.setState(0, INPROCESS);
    model[Symbol.dispose]();
  }, [63]],
  "was answered without a wake when the model dies": [(model) => {
    model.slots.setData(0, 7, 0);
    model.slots.setState(0, IORESP_READY);
    model[Symbol.dispose]();
  }, [7, 63]],
  "is set to NONE": [(model) => model.put(0, STATE.NONE), [63]],
  "waits for a server that is destroyed": [(model) => model.destroyServer(), [63]],
};

for (const [name, [play, statuses]] of Object.entries(READS)) {
  testWith([ANY_KVM], `a read that ${name} has ${statuses.join(" or ")}`, async () => {
    for (const carrier of CARRIERS) {
      await using stack = new AsyncDisposableStack();
      const directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" });
      stack.defer(() => Deno.remove(directory, { recursive: true }));
      const socket = `${directory}/1.sock`;
      const booting = boot(PORT_510, { timeoutMs: LOST_MS, carrier, deviceModels: [{ socket }] });
      using model = await PlayedModel.attach(socket);
      const range = { id: model.id, type: RANGE.PORT, start: 0x510n, end: 0x510n };
      await model.client.do("map_io_range_to_ioreq_server", range);
      await model.setEnabled(true);
      await using vm = await booting;
      let ended = false;
      vm.exited.then(() => ended = true);
      while (!ended && model.slots.state(0) !== READY) await turn();
      await play(model);
      while (!ended && !model.released) await turn();
      model[Symbol.dispose]();
      const { status, reason } = await vm.exited;
      assert(statuses.includes(status), `${status}: ${reason}`);
    }
  });
}
