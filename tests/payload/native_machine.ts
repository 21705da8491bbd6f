/** Machine memory and a vmap for native payloads, a compiler for their objects, and what a leak would add to. */

import { MachineMemory } from "../../src/memory/bank.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { Vmap } from "../../src/memory/vmap.ts";
import { mappingBudget } from "../../src/memory/vmap_budget.ts";
import { NativePayloads } from "../../src/payload/native_payloads.ts";
import { openDescriptors } from "../linux/process.ts";

/** Payloads in an arena of 64 pages. */
export class NativeMachine implements Disposable {
  readonly machine = new MachineMemory();
  readonly vmap = new Vmap(this.machine, { default: PAGE_SIZE, payload: 64 * PAGE_SIZE });
  readonly payloads = new NativePayloads(this.machine, this.vmap);

  /** What payloads take: areas, banks, mappings, and descriptors of payloads' memory. */
  get holdings(): readonly number[] {
    const files = openDescriptors().filter((name) => name.startsWith("/memfd:xenolith-payload"));
    return [this.vmap.areas, this.machine.banks, mappingBudget.taken, files.length];
  }

  [Symbol.dispose](): void {
    this.payloads[Symbol.dispose]();
    this.vmap[Symbol.dispose]();
    this.machine[Symbol.dispose]();
  }
}

/** An object as gcc makes it of C; `-O2` as for any hypervisor, and nothing of the C library. */
export async function compile(source: string, ...options: string[]): Promise<Uint8Array> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/payload.c`, source);
    const args = ["-O2", "-ffreestanding", "-Wall", "-Werror", ...options, "-c", "-o", `${folder}/payload.o`];
    const { success, stderr } = await new Deno.Command("gcc", { args: [...args, `${folder}/payload.c`] }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return await Deno.readFile(`${folder}/payload.o`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What a payload in C begins with: Xen's structure, and an entry of it. */
export const LIVEPATCH_H = await Deno.readTextFile(new URL("../../examples/payloads/livepatch.h", import.meta.url));
