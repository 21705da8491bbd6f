/** start_up_phases.ts IMAGE: does what `run` does, step by step, and prints how long each step took, as JSON. */

const startMs = performance.now();
const phases: Record<string, number> = {};
let lastMs = startMs;

/** Ends the step `phase`. */
function mark(phase: string): void {
  const nowMs = performance.now();
  phases[phase] = nowMs - lastMs;
  lastMs = nowMs;
}

await import("../../src/cli/run.ts");
mark("modules");
const { Kvm } = await import("../../src/kvm/kvm.ts");
const { Domain } = await import("../../src/domain/domain.ts");
const { backedRanges, lowRamEnd } = await import("../../src/boot/memory_map.ts");
const { planBoot } = await import("../../src/boot/loaders.ts");
const { setEntry } = await import("../../src/machine/entry.ts");
const { bootRequest } = await import("../../src/machine/machine.ts");
lastMs = performance.now();

const request = bootRequest({ image: Deno.args[0] });
const plan = planBoot(request);
mark("image: read and planned");
const kvm = Kvm.open();
mark("/dev/kvm");
const { memoryBytes, vcpus } = request;
const console0 = { input: -1, output: -1, escape: null };
const platform = { console: console0, memoryBytes, lowMemoryBytes: lowRamEnd(memoryBytes) };
const domain = new Domain(kvm, {
  name: "null.img",
  showsXen: true,
  memoryMap: plan.memoryMap,
  regions: plan.regions,
  vcpus,
  carrier: "worker",
  memoryBytes,
  ram: backedRanges(memoryBytes),
  models: [{ module: undefined, configuration: platform, memory: "none" }],
  sockets: [],
  deviceModelTimeoutMs: undefined,
  populateOnDemand: false,
  hold: false,
});
mark("Workers begun, VM made");
for (const segment of plan.segments) domain.memory.write(segment.address, segment.bytes);
setEntry(domain.bootVcpu, plan.entry);
mark("image loaded");
await domain.start();
mark("until the platform model serves");
await domain.ended;
mark("first entry, exit, both Workers stopped");
await domain[Symbol.asyncDispose]();
kvm[Symbol.dispose]();
mark("all freed");
console.log(JSON.stringify(phases));
Deno.exit(0);
