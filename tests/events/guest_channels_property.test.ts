/** GuestChannels against a model that has a port as an object and an event as a member of a set, for any operations. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { EEXIST, EINVAL, ENOENT } from "../../src/linux/errno.ts";
import { DOMID, GuestScene } from "./guest_scene.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 1000);
const VCPUS = 3, BACK_END = 1;
/** Virtual interrupts of the test: the first two are a vCPU's own. */
const VIRQS = 4, OWN_VIRQS = 2;

type Port =
  & { vcpu: number }
  & (
    | { kind: "ipi" | "reserved" }
    | { kind: "virq"; virq: number }
    | { kind: "unbound"; domid: number }
    | { kind: "loop"; other: number }
    | { kind: "backEnd"; own: number }
  );

/** What a vCPU's vcpu_info says, and whether it is still in shared_info. */
interface Info {
  upcall: boolean;
  selected: Set<number>;
  moved: boolean;
}

class Model {
  readonly ports = new Map<number, Port>([[0, { kind: "reserved", vcpu: 0 }]]);
  validEnd = 64;
  readonly pending = new Set<number>();
  readonly masked = new Set<number>();
  readonly infos: Info[];
  /** By vCPU that waits: for which port; 0 any. */
  readonly pollers = new Map<number, number>();
  log: string[] = [];
  /** Events that the back end has not taken. */
  readonly taken = new Set<number>();

  constructor(readonly bits: 32 | 64) {
    this.infos = Array.from({ length: VCPUS }, () => ({ upcall: false, selected: new Set(), moved: false }));
  }

  add(port: Port): number {
    let number = 0;
    while (this.ports.has(number)) number++;
    if (number === this.validEnd) this.validEnd += 64;
    this.ports.set(number, port);
    return number;
  }

  raise(number: number): void {
    const { vcpu } = this.ports.get(number)!;
    if (this.pending.has(number)) return;
    this.pending.add(number);
    if (!this.masked.has(number)) this.select(number, vcpu);
    for (const [poller, port] of [...this.pollers].sort(([one], [other]) => one - other)) {
      if (port !== 0 && port !== number) continue;
      this.pollers.delete(poller);
      this.log.push(`unblock ${poller}`);
    }
  }

  select(number: number, vcpu: number): void {
    const info = this.infos[vcpu], long = Math.floor(number / this.bits);
    if (info.selected.has(long)) return;
    info.selected.add(long);
    if (info.upcall) return;
    info.upcall = true;
    this.log.push(`upcall ${vcpu}`);
  }

  close(number: number): number {
    const port = this.ports.get(number);
    if (port === undefined || port.kind === "reserved") return -EINVAL;
    if (port.kind === "loop") {
      this.ports.set(port.other, { kind: "unbound", domid: DOMID, vcpu: this.ports.get(port.other)!.vcpu });
    }
    this.ports.delete(number);
    this.pending.delete(number);
    return 0;
  }
}

const port = fc.oneof({ weight: 12, arbitrary: fc.nat(12) }, { weight: 1, arbitrary: fc.nat(140) });
const vcpu = fc.nat(VCPUS), ownPort = fc.nat(31);

type Step = { name: string; run(guest: GuestScene): number; expect(model: Model): number };

/** One arbitrary for each operation: what is done, and what the model says of it. */
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom(0, DOMID, 9).map((domid) => ({
    name: `alloc_unbound ${domid}`,
    run: ({ channels }: GuestScene) => channels.allocUnbound(domid),
    expect: (model: Model) => model.add({ kind: "unbound", domid, vcpu: 0 }),
  })),
  fc.tuple(fc.constantFrom(DOMID, DOMID, DOMID, 0), port).map(([domid, remote]) => ({
    name: `bind_interdomain ${domid} ${remote}`,
    run: ({ channels }: GuestScene) => channels.bindInterdomain(domid, remote),
    expect: (model: Model) => {
      const other = model.ports.get(remote), number = model.add({ kind: "loop", other: remote, vcpu: 0 });
      if (domid !== DOMID || other?.kind !== "unbound" || other.domid !== DOMID) {
        model.ports.delete(number);
        return -EINVAL;
      }
      model.ports.set(remote, { kind: "loop", other: number, vcpu: other.vcpu });
      model.raise(number);
      return number;
    },
  })),
  fc.tuple(fc.nat(VIRQS - 1), vcpu).map(([virq, vcpu]) => ({
    name: `bind_virq ${virq} ${vcpu}`,
    run: ({ channels }: GuestScene) => channels.bindVirq(virq, virq < OWN_VIRQS ? vcpu : 0, virq >= OWN_VIRQS),
    expect: (model: Model) => {
      const at = virq < OWN_VIRQS ? vcpu : 0;
      if (at >= VCPUS) return -ENOENT;
      const isSame = (port: Port) =>
        port.kind === "virq" && port.virq === virq && (virq >= OWN_VIRQS || port.vcpu === at);
      return [...model.ports.values()].some(isSame) ? -EEXIST : model.add({ kind: "virq", virq, vcpu: at });
    },
  })),
  vcpu.map((vcpu) => ({
    name: `bind_ipi ${vcpu}`,
    run: ({ channels }: GuestScene) => channels.bindIpi(vcpu),
    expect: (model: Model) => vcpu < VCPUS ? model.add({ kind: "ipi", vcpu }) : -ENOENT,
  })),
  port.map((port) => ({
    name: `close ${port}`,
    run: ({ channels }: GuestScene) => channels.close(port),
    expect: (model: Model) => model.close(port),
  })),
  port.map((number) => ({
    name: `send ${number}`,
    run: ({ channels }: GuestScene) => channels.send(number),
    expect: (model: Model) => {
      const port = model.ports.get(number);
      if (port?.kind === "ipi") model.raise(number);
      else if (port?.kind === "loop") model.raise(port.other);
      else if (port?.kind === "backEnd") model.taken.add(port.own);
      else if (port?.kind !== "unbound") return -EINVAL;
      return 0;
    },
  })),
  fc.tuple(fc.nat(VIRQS - 1), fc.nat(VCPUS - 1)).map(([virq, vcpu]) => ({
    name: `virq ${virq} ${vcpu}`,
    run: ({ channels }: GuestScene) => channels.raiseVirq(virq, virq < OWN_VIRQS ? vcpu : 0) ? 1 : 0,
    expect: (model: Model) => {
      for (const [number, port] of model.ports) {
        if (port.kind !== "virq" || port.virq !== virq || (virq < OWN_VIRQS && port.vcpu !== vcpu)) continue;
        model.raise(number);
        return 1;
      }
      return 0;
    },
  })),
  fc.tuple(port, vcpu).map(([number, vcpu]) => ({
    name: `bind_vcpu ${number} ${vcpu}`,
    run: ({ channels }: GuestScene) => channels.bindVcpu(number, vcpu),
    expect: (model: Model) => {
      const port = model.ports.get(number);
      if (vcpu >= VCPUS) return -ENOENT;
      if (port === undefined || port.kind === "reserved" || port.kind === "ipi") return -EINVAL;
      if (port.kind === "virq" && port.virq < OWN_VIRQS) return -EINVAL;
      port.vcpu = vcpu;
      return 0;
    },
  })),
  port.map((number) => ({
    name: `unmask ${number}`,
    run: ({ channels }: GuestScene) => channels.unmask(number),
    expect: (model: Model) => {
      const port = model.ports.get(number);
      if (number >= model.validEnd) return -EINVAL;
      if (port === undefined || port.kind === "reserved") return 0;
      if (model.masked.delete(number) && model.pending.has(number)) model.select(number, port.vcpu);
      return 0;
    },
  })),
  port.map((number) => ({
    name: `poll ${number}`,
    run: ({ channels }: GuestScene) => channels.poll(number),
    expect: (model: Model) => {
      const kind = model.ports.get(number)?.kind ?? "reserved";
      return kind === "reserved" ? -EINVAL : Number(model.pending.has(number));
    },
  })),
  fc.tuple(port, ownPort).map(([number, own]) => ({
    name: `attach ${number} ${own}`,
    run: ({ channels }: GuestScene) => channels.backEndPorts.attach(number, BACK_END, own),
    expect: (model: Model) => {
      const port = model.ports.get(number);
      if (port?.kind !== "unbound" || port.domid !== 0) return -EINVAL;
      model.ports.set(number, { kind: "backEnd", own, vcpu: port.vcpu });
      model.taken.add(own);
      return 0;
    },
  })),
  port.map((number) => ({
    name: `detach ${number}`,
    run: ({ channels }: GuestScene) => channels.backEndPorts.detach(number, BACK_END),
    expect: (model: Model) => {
      const port = model.ports.get(number);
      if (port?.kind !== "backEnd") return -EINVAL;
      model.ports.set(number, { kind: "unbound", domid: 0, vcpu: port.vcpu });
      return 0;
    },
  })),
  port.map((number) => ({
    name: `notify ${number}`,
    run: ({ channels }: GuestScene) => channels.backEndPorts.notify(number, BACK_END),
    expect: (model: Model) => {
      if (model.ports.get(number)?.kind !== "backEnd") return -EINVAL;
      model.raise(number);
      return 0;
    },
  })),
  fc.tuple(fc.nat(VCPUS - 1), fc.option(port)).map(([vcpu, only]) => ({
    name: `begin poll ${vcpu} ${only}`,
    run: ({ channels }: GuestScene) => {
      channels.delivery.beginPoll(vcpu);
      if (only !== null) channels.delivery.narrowPoll(vcpu, only);
      return 0;
    },
    expect: (model: Model) => {
      model.pollers.set(vcpu, only ?? 0);
      return 0;
    },
  })),
  fc.nat(VCPUS - 1).map((vcpu) => ({
    name: `register_vcpu_info ${vcpu}`,
    run: ({ channels }: GuestScene) => channels.registerVcpuInfo(vcpu, 4 + vcpu, vcpu * 1024),
    expect: (model: Model) => {
      const info = model.infos[vcpu];
      if (info.moved) return -EINVAL;
      info.moved = info.upcall = true;
      for (let long = 0; long < model.bits; long++) info.selected.add(long);
      model.log.push(`upcall ${vcpu}`);
      return 0;
    },
  })),
  { weight: 1, arbitrary: fc.constant(reset()) },
  port.map((number) => ({
    name: `the guest masks ${number}`,
    run: (guest: GuestScene) => (guest.mask(number), 0),
    expect: (model: Model) => (model.masked.add(number), 0),
  })),
  fc.nat(VCPUS - 1).map((vcpu) => ({
    name: `the guest handles what vCPU ${vcpu} is told of`,
    run: (guest: GuestScene) => {
      guest.takeUpcall(vcpu);
      const longs = guest.takeSelected(vcpu), { bits } = guest.table;
      return guest.pending(256).filter((port) => longs.includes(Math.floor(port / bits)))
        .filter((port) => !guest.masked(256).includes(port) && guest.takePending(port)).length;
    },
    expect: (model: Model) => {
      const info = model.infos[vcpu], before = model.pending.size;
      info.upcall = false;
      for (const port of [...model.pending]) {
        if (info.selected.has(Math.floor(port / model.bits)) && !model.masked.has(port)) model.pending.delete(port);
      }
      info.selected.clear();
      return before - model.pending.size;
    },
  })),
);

function reset(): Step {
  return {
    name: "reset",
    run: ({ channels }) => channels.reset(),
    expect: (model) => {
      for (const number of [...model.ports.keys()]) model.close(number);
      return 0;
    },
  };
}

const sorted = (numbers: Iterable<number>) => [...numbers].sort((one, other) => one - other);

for (const bits of [32, 64] as const) {
  Deno.test(`any operations on ports with ${bits}-bit longs do what they do to a simple model`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: "max" }), (steps) => {
        using guest = GuestScene.create(VCPUS);
        guest.table.bits = bits;
        const model = new Model(bits), backEnd = guest.addBackEnd(BACK_END);
        for (const { name, run, expect } of steps) {
          assertEquals(run(guest), expect(model), name);
          assertEquals(guest.take(), model.log.splice(0), name);
          assertEquals([guest.pending(256), guest.masked(256)], [sorted(model.pending), sorted(model.masked)], name);
          for (let vcpu = 0; vcpu < VCPUS; vcpu++) {
            const { upcall, selected } = model.infos[vcpu];
            assertEquals([guest.isUpcallPending(vcpu), guest.selected(vcpu)], [upcall, sorted(selected)], name);
          }
          const taken: number[] = [];
          backEnd.drain((port) => taken.push(port));
          assertEquals(taken, sorted(model.taken), name);
          model.taken.clear();
        }
      }),
      { numRuns: RUNS },
    );
  });
}
