/** Machines that are paused, resumed, kicked and stopped in a random order, on every carrier: nothing hangs, nothing is lost. */

import { assertEquals } from "@std/assert";
import { boot, type BootOptions, type TestMachine } from "xenolith/testing";
import { ANY_KVM, repetitions, testWith } from "../support/capabilities.ts";
import { printedSeed, randomBytes } from "../support/random.ts";

const MACHINES = repetitions(12), MOST_STEPS = 30, COUNT = 3000;
const TIMEOUT = { timeoutMs: 120_000 };

/** What runs meanwhile: one vCPU that makes requests, many that come up and go to sleep, one that spins. */
const GUESTS: readonly [image: string, options: BootOptions, ends: boolean][] = [
  ["guests/exits.img", { cmdline: `op=in port=0x3ff count=${COUNT}` }, true],
  ["guests/exits.img", { cmdline: `count=${COUNT}`, vcpus: 8 }, true],
  ["guests/smp.img", { vcpus: 12 }, true],
  ["guests/smp.img", { vcpus: 36 }, true],
  ["guests/hang.img", { vcpus: 40 }, false],
  ["guests/hang.img", { vcpus: 2, cmdline: "spin" }, false],
];

/** Numbers from 0 to below `limit`, the same again for the same seed. */
type Chooser = (limit: number) => number;

function chooser(seed: number): Chooser {
  const bytes = randomBytes(1 << 16, seed);
  let at = 0;
  return (limit) => bytes[at++ % bytes.length] % limit;
}

async function step(vm: TestMachine, random: Chooser): Promise<void> {
  switch (random(6)) {
    case 0:
      return vm.kick();
    case 1:
      return vm.resume();
    case 2:
      return await vm.pause();
    case 3: {
      const pausing = vm.pause();
      vm.resume();
      return await pausing;
    }
    case 4: {
      const pauses = [vm.pause(), vm.pause()];
      vm.kick();
      await Promise.all(pauses);
      return;
    }
    default:
      return await new Promise((resolve) => setTimeout(resolve, random(3)));
  }
}

for (const carrier of ["worker", "native"] as const) {
  testWith([ANY_KVM], `machines that are paused, resumed, kicked and stopped at random (${carrier})`, async () => {
    const random = chooser(printedSeed());
    for (let machine = 0; machine < MACHINES; machine++) {
      const [image, options, ends] = GUESTS[random(GUESTS.length)];
      const vcpus = Math.min(options.vcpus ?? 1, carrier === "worker" ? 4 : 1024);
      await using vm = await boot(image, { ...TIMEOUT, ...options, carrier, vcpus });
      for (let left = random(MOST_STEPS); left > 0; left--) await step(vm, random);
      if (!ends || random(3) === 0) continue; // stopped wherever it is
      vm.resume();
      assertEquals((await vm.exited).status, 0, `machine ${machine}: ${image}: ${vm.console.text}`);
    }
  });
}
