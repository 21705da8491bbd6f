/** What device models of a test's own do that they must not, as a table, and what becomes of their requests. */

import { assertEquals } from "@std/assert";
import type { BootOptions } from "xenolith/testing";
import { BUFIOREQ, IOREQ, IOREQ_BYTES, STATE } from "../../src/ioreq/abi.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import * as calls from "../../src/linux/calls.ts";
import { repetitions } from "./capabilities.ts";
import { BYSTANDERS_OWN, CULPRIT, ROUNDS, served, Stage, turn, VICTIMS, WITNESS } from "./misbehaving_stage.ts";
import type { AttachOptions, PlayedModel } from "./models/misbehaving.ts";
import { printedSeed, randomBytes } from "./random.ts";

/** How vCPUs are carried. */
type Carrier = "worker" | "native";

/** What a device model can do to a vCPU does not depend on the KVM below: another KVM sees one carrier. */
export const CARRIERS: readonly Carrier[] = (["native", "worker"] as const).slice(0, repetitions(2));

/** One kind of misbehaviour. */
export interface Misbehaviour {
  readonly options?: BootOptions;
  /** Default: both. */
  readonly carriers?: readonly Carrier[];
  readonly attaching?: AttachOptions;
  /** What is done to the server's memory before it is enabled. */
  prepare?(model: PlayedModel): void;
  /** The misbehaviour, until the end of the run or of the model. */
  play(stage: Stage, model: PlayedModel): Promise<void>;
  /** The reason of the crash, if it ends in one. */
  readonly crash?: RegExp;
  /** How many of its requests end without an answer: exactly, or at least and at most. Default 0. */
  readonly gone?: number | readonly [least: number, most: number];
  /** How many accesses it claimed and did not get: exactly, or any number. Default 0. */
  readonly unhandled?: number | "any";
}

/** Closes its connection when victim n's request is in the n-th state. */
function dies(...states: readonly number[]): Misbehaviour["play"] {
  return async (stage, model) => {
    await stage.stuck(model);
    VICTIMS.forEach((vcpu, index) => model.slots.setState(vcpu, states[index]));
    model[Symbol.dispose]();
  };
}

/** With hold: likewise, and a successor answers what is left. */
function diesAndIsSucceeded(...states: readonly number[]): Misbehaviour["play"] {
  return async (stage, model) => {
    await dies(...states)(stage, model);
    const next = await stage.attach();
    assertEquals(next.id, CULPRIT);
    const asked = VICTIMS.filter((_, index) => states[index] !== STATE.IORESP_READY);
    const left = asked.map((vcpu) => next.slots.state(vcpu));
    assertEquals(left, asked.map(() => STATE.READY), "what was begun is asked again");
    await stage.toTheEnd(() => next.serve());
  };
}

/** Puts `state` where victim 1's request is READY; the two others wait, too. */
function puts(state: number): Misbehaviour {
  return {
    async play(stage, model) {
      await stage.stuck(model);
      model.put(VICTIMS[0], state);
    },
    carriers: [CARRIERS[state % CARRIERS.length]],
    crash: new RegExp(`^ioreq server ${CULPRIT} moved a request from state 1 to ${state}: vcpu=1 `),
  };
}

const { READY, INPROCESS, IORESP_READY } = STATE;
const seed = printedSeed();
/** Bytes of all values, others for each `salt`. */
export const garbage = (count: number, salt: number) =>
  randomBytes(count, seed + salt).map((byte) => byte ^ (salt & 1));

/** By what the device model does. */
export const MISBEHAVIOURS: Record<string, Misbehaviour> = {
  "dies before it takes its requests": { play: dies(READY, READY, READY), gone: 3 },
  "dies while it handles its requests": { play: dies(INPROCESS, INPROCESS, INPROCESS), gone: 3 },
  "dies when it has answered, before it wakes anybody": {
    play: dies(IORESP_READY, IORESP_READY, IORESP_READY),
    gone: [0, 3],
  },
  "dies before, during and after requests": { play: dies(READY, INPROCESS, IORESP_READY), gone: [2, 3] },
  "dies, with hold, before it takes its requests": {
    options: { hold: true },
    play: diesAndIsSucceeded(READY, READY, READY),
  },
  "dies, with hold, while it handles its requests": {
    options: { hold: true },
    play: diesAndIsSucceeded(INPROCESS, INPROCESS, INPROCESS),
  },
  "dies, with hold, when it has answered, before it wakes anybody": {
    options: { hold: true },
    play: diesAndIsSucceeded(IORESP_READY, IORESP_READY, IORESP_READY),
  },
  "dies, with hold, before, during and after requests": {
    options: { hold: true },
    play: diesAndIsSucceeded(READY, INPROCESS, IORESP_READY),
  },
  ...Object.fromEntries([false, true].map((hold) => [
    `dies in the middle of waking vCPUs (hold: ${hold})`,
    {
      options: { hold },
      async play(stage: Stage, model: PlayedModel) {
        await stage.stuck(model);
        for (const vcpu of VICTIMS) {
          model.slots.setState(vcpu, IORESP_READY);
          model.wakeByHalf(vcpu);
        }
        model[Symbol.dispose]();
        if (!hold) return;
        const next = await stage.attach();
        await stage.toTheEnd(() => next.serve());
      },
      gone: hold ? 0 : [0, 3],
    } satisfies Misbehaviour,
  ])),
  "answers everything twice": {
    async play(stage, model) {
      await stage.stuck(model);
      await stage.toTheEnd(() => {
        model.serve();
        model.serve();
        for (const vcpu of VICTIMS) model.answer(vcpu);
      });
    },
    unhandled: "any",
  },
  "answers what nobody has asked": {
    prepare: (model) => VICTIMS.forEach((vcpu) => model.slots.setState(vcpu, IORESP_READY)),
    play: (stage, model) => stage.toTheEnd(() => model.serve()),
    unhandled: VICTIMS.length * ROUNDS,
  },
  "answers for vCPUs that never ask it": {
    async play(stage, model) {
      for (const vcpu of [0, 4, 5, 127]) model.answer(vcpu);
      await stage.toTheEnd(() => model.serve());
    },
  },
  "sets slots to NONE": {
    async play(stage, model) {
      await stage.stuck(model);
      for (const vcpu of VICTIMS) model.put(vcpu, STATE.NONE);
      await stage.toTheEnd(() => model.serve());
    },
    gone: 3,
  },
  "moves a request from INPROCESS back to READY": {
    async play(stage, model) {
      await stage.stuck(model);
      // Both states have to be seen: nobody says when they were.
      await stage.toTheEnd(async () => {
        model.put(VICTIMS[0], INPROCESS);
        await turn();
        model.put(VICTIMS[0], READY);
      });
    },
    crash: new RegExp(`^ioreq server ${CULPRIT} moved a request from state 2 to 1: vcpu=1 `),
  },
  ...Object.fromEntries(
    Array.from({ length: repetitions(11) }, (_, index) => [`sets state ${index + 5}, which is none`, puts(index + 5)]),
  ),
  "writes garbage into all members of its requests": {
    async play(stage, model) {
      let salt = 0;
      await stage.stuck(model);
      await stage.toTheEnd(() => {
        for (const vcpu of VICTIMS) {
          if (model.slots.state(vcpu) !== READY) continue;
          const slot = model.slotBytes.subarray(vcpu * IOREQ_BYTES, (vcpu + 1) * IOREQ_BYTES);
          const state = slot[IOREQ.state];
          slot.set(garbage(IOREQ.state, ++salt));
          slot[IOREQ.type] = garbage(1, salt)[0];
          slot[IOREQ.state] = state ^ 0x70; // data_is_ptr, dir, df
          model.slots.setPort(vcpu, vcpuPort(vcpu));
          model.answer(vcpu);
        }
      });
    },
  },
  "changes vp_eport": {
    async play(stage, model) {
      await stage.stuck(model);
      VICTIMS.forEach((vcpu, index) => {
        model.slots.setPort(vcpu, [0, vcpuPort(vcpu) + 1, 0xffff_ffff][index]);
        model.answer(vcpu);
      });
      await stage.toTheEnd(() => model.serve());
    },
    unhandled: VICTIMS.length * (ROUNDS - 1),
  },
  "begins with pages full of garbage": {
    prepare(model) {
      model.slotBytes.set(garbage(model.slotBytes.length, 0));
      for (let vcpu = 0; vcpu < 128; vcpu++) model.slots.setState(vcpu, 4 + vcpu % 12);
    },
    play: (stage, model) => stage.toTheEnd(() => model.serve()),
    unhandled: VICTIMS.length * ROUNDS,
  },
  "writes garbage all over its notification area and wake board": {
    async play(stage, model) {
      let salt = 0;
      await stage.stuck(model);
      await stage.toTheEnd(() => {
        model.areaBytes.set(garbage(model.areaBytes.length, salt++));
        model.serve();
        for (const vcpu of VICTIMS) model.wake(vcpu); // those of the last turn, too, whose bits are garbage now
      });
    },
  },
  "sets all bits of its notification area and wake board": {
    async play(stage, model) {
      await stage.toTheEnd(() => {
        model.areaBytes.fill(0xff);
        model.serve();
      });
    },
  },
  "fills its doorbell and those of the waiters": {
    async play(stage, model) {
      const most = new BigUint64Array([2n ** 64n - 2n]);
      calls.write(model.doorbell, most, 8n);
      model.areaBytes.fill(1);
      await stage.toTheEnd(() => {
        model.areaBytes.fill(1);
        model.serve();
        for (const vcpu of VICTIMS) model.wake(vcpu);
      });
    },
  },
  "never answers, where there is a limit": {
    options: { hold: true, deviceModelTimeoutMs: 2000 },
    async play(stage, model) {
      model[Symbol.dispose](); // whoever waits for a successor waits without limit
      await stage.until("the others' requests", () => served(stage.vm, WITNESS) === BYSTANDERS_OWN);
      await stage.attach();
    },
    crash: new RegExp(
      `^ioreq server ${CULPRIT} has not answered vCPU [1-3]'s access to 0xfd0000[01][08] for 2 s`,
    ),
  },
  "floods the guest with interrupts": {
    async play(stage, model) {
      await stage.stuck(model);
      for (let count = 0; count < 250; count++) {
        await model.client.do("set_irq_level", { irq: 5, level: count % 2 });
        await model.client.do("set_isa_irq_level", { isa_irq: 5, level: count % 2 });
        await model.client.do("set_pci_intx_level", { domain: 0, bus: 0, device: 3, intx: 0, level: count % 2 });
        await model.client.do("inject_msi", { addr: 0xfee0_0000n, data: 0x30 }); // the tick that vCPU 0 waits for
        await model.client.try("inject_msi", { addr: 0xfeef_f000n, data: 0 });
        model.serve();
      }
      await stage.toTheEnd(() => model.serve());
    },
  },
  ...Object.fromEntries((["resource", "gfn"] as const).map((way) => [
    `disables and enables its server while requests are under way (pages by ${way})`,
    {
      attaching: { way },
      async play(stage: Stage, model: PlayedModel) {
        await stage.stuck(model);
        for (let count = 0; count < 5; count++) {
          await model.setEnabled(false);
          await model.setEnabled(true);
        }
        for (let count = 0; count < 20; count++) {
          await model.setEnabled(false);
          if (way === "resource") model.serve();
          await model.setEnabled(true);
          model.serve();
        }
        await stage.toTheEnd(() => model.serve());
      },
      // Pages that go back into the guest are cleared: what was asked there reads all ones.
      gone: way === "gfn" ? [3, VICTIMS.length * 25] : 0,
    } satisfies Misbehaviour,
  ])),
  "destroys its server while requests wait, and makes others": {
    async play(stage, model) {
      await stage.stuck(model);
      await model.destroyServer();
      for (let count = 0; count < 20; count++) {
        const { id } = (await model.client.do("create_ioreq_server", { handle_bufioreq: BUFIOREQ.OFF })).out;
        assertEquals(id, CULPRIT);
        await model.setEnabled(true);
        await model.destroyServer();
      }
    },
    gone: 3,
  },
};
