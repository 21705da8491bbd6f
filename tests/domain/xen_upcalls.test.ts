/** XenUpcalls: what an event sends on its way to a vCPU. */

import { assertEquals } from "@std/assert";
import { CALLBACK, ORDER, XenState, xenStateBytes } from "../../src/domain/xen_state.ts";
import { XenUpcalls } from "../../src/domain/xen_upcalls.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { BareVcpu } from "./bare_vcpu.ts";

/** Calls an upcall of vCPU 0 in a state, and tells what came of it. @param isDelivered by its local APIC */
function upcall(prepare: (state: XenState) => void, isDelivered = true) {
  using stack = new DisposableStack();
  const vcpu = stack.use(new BareVcpu()), vectors: [address: number, vector: number][] = [];
  const memory = stack.use(Mapping.anonymous(xenStateBytes(1), "Xen")), state = new XenState(memory.address, 1);
  const [line, ended, worker] = ["line", "ended", "worker"].map((name) => stack.use(eventDescriptor(name)));
  state.setDescriptors(line.number, ended.number, worker.number, -1);
  const vm = { signalMsi: (address: number, vector: number) => (vectors.push([address, vector]), isDelivered) };
  prepare(state);
  new XenUpcalls(vcpu.control, state, vm).upcall(0);
  return { orders: state.takeOrders(0), vectors, isDue: state.isUpcallDue(0) };
}

const NOTHING = { orders: 0, vectors: [], isDue: false };

Deno.test("an upcall comes by the vCPU's own vector where it has one, else by the callback's", () => {
  const own = upcall((state) => {
    state.setUpcallVector(0, 0x52);
    state.setCallback(CALLBACK.VECTOR, 0x51);
  });
  assertEquals(own, { ...NOTHING, vectors: [[0xfee0_0000, 0x52]] });
  assertEquals(upcall((state) => state.setCallback(CALLBACK.VECTOR, 0x51)), { ...NOTHING, orders: ORDER.UPCALL });
  assertEquals(upcall(() => {}), NOTHING);
});

Deno.test("an upcall wakes a vCPU that sleeps by a hypercall, whether it can take an interrupt or not", () => {
  const asleep = (prepare: (state: XenState) => void) =>
    upcall((state) => {
      state.setAsleep(0, true);
      prepare(state);
    });
  assertEquals(asleep(() => {}), { ...NOTHING, orders: ORDER.WAKE });
  assertEquals(asleep((state) => state.setUpcallVector(0, 0x52)), {
    ...NOTHING,
    orders: ORDER.WAKE,
    vectors: [[0xfee0_0000, 0x52]],
  });
  assertEquals(asleep((state) => state.setCallback(CALLBACK.GSI, 22)), { ...NOTHING, orders: ORDER.WAKE });
});

Deno.test("an upcall that the local APIC does not take is due again", () => {
  const refused = upcall((state) => state.setUpcallVector(0, 0x52), false);
  assertEquals(refused, { orders: 0, vectors: [[0xfee0_0000, 0x52]], isDue: true });
});
