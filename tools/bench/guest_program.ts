/** C programs that run a guest, loaded as planned by Xenolith's loader (boot_guest.h). */

import { CProgram } from "./c_program.ts";
import { planBoot } from "../../src/boot/loaders.ts";
import { bootRequest } from "../../src/machine/machine.ts";
import { DEFAULT_MEMORY_BYTES } from "../../src/machine/options.ts";

/**
 * Starts tools/bench/NAME.c with the guest, which it runs until its first access to `port`; when this resolves, it has.
 * @param rest further arguments @returns null where there is no compiler
 */
export async function startGuestProgram(
  name: string,
  guest: { readonly image: string; readonly cmdline: string },
  port: number,
  ...rest: (number | string)[]
): Promise<CProgram | null> {
  const plan = planBoot(bootRequest(guest));
  if (plan.entry.mode !== "protected") throw new Error(`boot_guest.h cannot enter ${plan.entry.mode} mode`);
  const { rip, registers: { rbx = 0 } } = plan.entry;
  const file = await Deno.makeTempFile({ prefix: "xenolith-bench-" });
  try {
    using output = await Deno.open(file, { write: true });
    for (const { address, bytes } of plan.segments) {
      await write(output, new Uint8Array(new BigUint64Array([BigInt(address), BigInt(bytes.length)]).buffer));
      await write(output, bytes);
    }
    const program = await CProgram.start(name, [file, DEFAULT_MEMORY_BYTES, rip, rbx, port, ...rest].map(String));
    await program?.round(1); // its answer says that the file has been read
    return program;
  } finally {
    await Deno.remove(file);
  }
}

async function write(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}
