/** The line that says how a guest died. */

import type { Outcome } from "../domain/outcome.ts";

/** The instruction in Intel syntax with its bytes: "ud2 [0f 0b]". Without the disassembler at hand, only the bytes. */
async function disassemble(code: { bytes: Uint8Array; bits: number }, rip: bigint): Promise<string> {
  const iced = await import("iced-x86").catch(() => undefined);
  if (iced === undefined) return `[${hex(code.bytes)}]`;
  const decoder = new iced.Decoder(code.bits, code.bytes, iced.DecoderOptions.None);
  const formatter = new iced.Formatter(iced.FormatterSyntax.Intel);
  decoder.ip = rip;
  const instruction = decoder.decode();
  try {
    if (instruction.isInvalid) return `no instruction [${hex(code.bytes)}]`;
    return `${formatter.format(instruction)} [${hex(code.bytes.subarray(0, instruction.length))}]`;
  } finally {
    for (const object of [instruction, formatter, decoder]) object.free();
  }
}

/** One line: reason, vCPU, rip, instruction. */
export async function describeOutcome(outcome: Outcome): Promise<string> {
  const where = outcome.vcpu === undefined ? "" : `: vcpu=${outcome.vcpu}`;
  if (outcome.rip === undefined) return `${outcome.reason}${where}`;
  const at = `${outcome.reason}${where} rip=0x${outcome.rip.toString(16)}`;
  return outcome.code === undefined ? at : `${at}: ${await disassemble(outcome.code, outcome.rip)}`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
