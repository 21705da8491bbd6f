/** The section .livepatch.funcs: which functions a native payload replaces, and what it expects in their place. */

import { hex } from "../boot/bytes.ts";
import { EINVAL, ENOENT, EOPNOTSUPP, EOVERFLOW, ERANGE } from "../linux/errno.ts";
import { PayloadError } from "./payload_error.ts";

/** The section's name. */
export const LIVEPATCH_FUNCS = ".livepatch.funcs";

/**
 * struct livepatch_func of Xen's public sysctl.h, on x86-64. In the byte `expect` the lowest bit is `enabled`, the next
 * five are `len`, the rest must be zero; then come the bytes that are expected. What lies between is padding.
 */
export const LIVEPATCH_FUNC = {
  name: 0,
  new_addr: 8,
  old_addr: 16,
  new_size: 24,
  old_size: 28,
  version: 32,
  expect: 72,
  expected: 73,
} as const;
export const LIVEPATCH_FUNC_BYTES = 104;

/** The most bytes that are replaced: without a new function, so many may become nops. */
export const LIVEPATCH_OPAQUE_SIZE = 31;

/** The only version of the structure that Xen takes, too (LIVEPATCH_PAYLOAD_VERSION). */
const VERSION = 2;

/** `jmp rel32`. */
const JMP = 0xe9, JMP_BYTES = 5;

/** The longest no-operations of the processor manuals, by their lengths, from one byte on. */
const NOPS = ["90", "6690", "0f1f00", "0f1f4000", "0f1f440000", "660f1f440000", "0f1f8000000000", "0f1f840000000000"]
  .map((code) => Uint8Array.fromHex(code));

/** A function that a payload replaces, all of it checked. */
export interface ReplacedFunction {
  readonly name: string;
  readonly oldAddress: bigint;
  /** 0: there is none, it becomes nops. */
  readonly newAddress: bigint;
  /** What comes to its beginning. */
  readonly code: Uint8Array<ArrayBuffer>;
  /** What has to be there before; nothing if the payload does not say. */
  readonly expected: Uint8Array;
}

/** What the functions of a payload are looked up in. */
export interface FunctionPlaces {
  /** Begins the messages. */
  readonly payload: string;
  /** The string at an address of the payload; undefined if there is none. */
  string(address: bigint): string | undefined;
  /** The address of a function that the hypervisor's code or an earlier payload has. */
  find(name: string): bigint | undefined;
  /** Bytes from `address` to the end of the function that it is in; 0: no code that can be replaced. */
  roomAt(address: bigint): number;
  /** Whether code of the payload itself is there. */
  isOwnText(address: bigint): boolean;
}

/**
 * Reads the section, which has been relocated.
 * @throws {PayloadError} EINVAL sizes or addresses that cannot be; EOPNOTSUPP another version, too many nops; ENOENT no
 * such function; EOVERFLOW too far for a jump; ERANGE more bytes expected than it has
 */
export function replacedFunctions(section: Uint8Array, places: FunctionPlaces): ReplacedFunction[] {
  if (section.length === 0 || section.length % LIVEPATCH_FUNC_BYTES !== 0) {
    const problem = `${section.length} bytes are no multiple of ${LIVEPATCH_FUNC_BYTES}`;
    throw new PayloadError(EINVAL, `${places.payload}: ${LIVEPATCH_FUNCS}: ${problem}`);
  }
  const count = section.length / LIVEPATCH_FUNC_BYTES;
  const functions = Array.from({ length: count }, (_, index) => {
    const bytes = section.subarray(index * LIVEPATCH_FUNC_BYTES, (index + 1) * LIVEPATCH_FUNC_BYTES);
    return replacedFunction(bytes, index, places);
  });
  const sorted = functions.toSorted((one, other) => Number(one.oldAddress - other.oldAddress));
  for (const [index, { name, oldAddress }] of sorted.entries()) {
    const before = sorted.at(index - 1)!;
    if (index === 0 || before.oldAddress + BigInt(before.code.length) <= oldAddress) continue;
    throw new PayloadError(EINVAL, `${places.payload}: ${before.name} and ${name} are replaced at the same bytes`);
  }
  return functions;
}

function replacedFunction(bytes: Uint8Array, index: number, places: FunctionPlaces): ReplacedFunction {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const nameAddress = view.getBigUint64(LIVEPATCH_FUNC.name, true), stated = places.string(nameAddress);
  const name = stated === undefined || stated === "" ? `function ${index}` : stated;
  const refuse = (errno: number, problem: string) => new PayloadError(errno, `${places.payload}: ${name}: ${problem}`);
  const version = bytes[LIVEPATCH_FUNC.version];
  if (version !== VERSION) {
    throw refuse(EOPNOTSUPP, `version ${version} of struct livepatch_func; ${VERSION} is needed`);
  }
  if (nameAddress !== 0n && stated === undefined) throw refuse(EINVAL, "its name is no string of the payload");

  const oldAddress = view.getBigUint64(LIVEPATCH_FUNC.old_addr, true) || addressOf(name, places);
  if (oldAddress === undefined) throw refuse(ENOENT, "there is no such function");
  const newAddress = view.getBigUint64(LIVEPATCH_FUNC.new_addr, true);
  const newBytes = view.getUint32(LIVEPATCH_FUNC.new_size, true);
  const oldBytes = view.getUint32(LIVEPATCH_FUNC.old_size, true), room = places.roomAt(oldAddress);
  if (room === 0) throw refuse(EINVAL, `at ${hex(oldAddress)} is no code that can be replaced`);
  if (oldBytes > room) throw refuse(EINVAL, `old_size ${oldBytes} is more than its ${room} bytes`);
  const needed = newAddress === 0n ? newBytes : JMP_BYTES;
  if (needed > LIVEPATCH_OPAQUE_SIZE) throw refuse(EOPNOTSUPP, `${needed} nops are more than ${LIVEPATCH_OPAQUE_SIZE}`);
  if (oldBytes < Math.max(1, needed)) {
    throw refuse(EINVAL, `old_size ${oldBytes} is less than the ${needed} to replace`);
  }
  if (newAddress !== 0n && !places.isOwnText(newAddress)) {
    throw refuse(EINVAL, `new_addr ${hex(newAddress)} is not in the payload's text`);
  }
  const code = newAddress === 0n ? nops(newBytes) : jump(oldAddress, newAddress);
  if (code === undefined) throw refuse(EOVERFLOW, `${hex(newAddress)} is too far from ${hex(oldAddress)} for a jump`);
  return { name, oldAddress, newAddress, code, expected: expectation(bytes, oldBytes, refuse) };
}

/** The address of "name" or "name+offset". */
function addressOf(name: string, places: FunctionPlaces): bigint | undefined {
  const { symbol, offset } = /^(?<symbol>[^+]+)(?:\+(?<offset>0x[\da-f]+|\d+))?$/i.exec(name)?.groups ?? {};
  const address = symbol === undefined ? undefined : places.find(symbol);
  return address === undefined ? undefined : address + BigInt(offset ?? 0);
}

function expectation(bytes: Uint8Array, oldBytes: number, refuse: (errno: number, problem: string) => PayloadError) {
  const flags = bytes[LIVEPATCH_FUNC.expect], length = flags >> 1 & 0x1f;
  if ((flags & 1) === 0) return new Uint8Array();
  if (flags >> 6 !== 0) throw refuse(EINVAL, "reserved bits of its expectation are set");
  if (length > oldBytes) throw refuse(ERANGE, `expects ${length} bytes of the ${oldBytes} that it has`);
  return bytes.slice(LIVEPATCH_FUNC.expected, LIVEPATCH_FUNC.expected + length);
}

function jump(from: bigint, to: bigint): Uint8Array<ArrayBuffer> | undefined {
  const distance = to - from - BigInt(JMP_BYTES), code = new Uint8Array(JMP_BYTES);
  if (BigInt.asIntN(32, distance) !== distance) return undefined;
  code[0] = JMP;
  new DataView(code.buffer).setInt32(1, Number(distance), true);
  return code;
}

function nops(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const code = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes;) {
    const nop = NOPS[Math.min(NOPS.length, sizeBytes - at) - 1];
    code.set(nop, at);
    at += nop.length;
  }
  return code;
}
