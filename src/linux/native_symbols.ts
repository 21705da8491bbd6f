/** The symbols of our own machine code: what payloads may call and replace, and where the code is in this process. */

import * as calls from "./calls.ts";
import type { AddressSpan } from "./mapping.ts";
import { NATIVE_OBJECT } from "./native.ts";

/** A function of native.asm. */
export interface NativeSymbol {
  readonly address: bigint;
  /** Bytes until the next function begins, or the code ends: those that align it are counted. */
  readonly roomBytes: number;
}

/** Program header fields, the tags of the dynamic section, and a symbol's fields (System V ABI, chapters 4 and 5). */
const PROGRAM_HEADERS = 64, PROGRAM_HEADER_BYTES = 56, PT_LOAD = 1, PT_DYNAMIC = 2, PF_X = 1;
const DT_HASH = 4, DT_STRTAB = 5, DT_SYMTAB = 6, SYMBOL_BYTES = 24;

let found: { symbols: ReadonlyMap<string, NativeSymbol>; code: AddressSpan } | undefined;

/** All of them by name. */
export function nativeSymbols(): ReadonlyMap<string, NativeSymbol> {
  return (found ??= find()).symbols;
}

/** All of the code; it begins with a page. */
export function nativeCode(): AddressSpan {
  return (found ??= find()).code;
}

/** Reads the object that was loaded. It is our own, and its addresses are offsets in it (native.asm). */
function find(): NonNullable<typeof found> {
  const object = Uint8Array.fromBase64(NATIVE_OBJECT), view = new DataView(object.buffer);
  const number = (at: number) => Number(view.getBigUint64(at, true));
  const tags = new Map<number, number>();
  let text = 0, textBytes = 0;
  for (let header = PROGRAM_HEADERS; header < PROGRAM_HEADERS + view.getUint16(56, true) * PROGRAM_HEADER_BYTES;) {
    const type = view.getUint32(header, true), offset = number(header + 8), sizeBytes = number(header + 32);
    if (type === PT_LOAD && (view.getUint32(header + 4, true) & PF_X) !== 0) [text, textBytes] = [offset, sizeBytes];
    for (let at = offset; type === PT_DYNAMIC && at < offset + sizeBytes; at += 16) {
      tags.set(number(at), number(at + 8));
    }
    header += PROGRAM_HEADER_BYTES;
  }
  const table = tags.get(DT_SYMTAB)!, strings = tags.get(DT_STRTAB)!;
  const values = new Map<string, number>();
  // DT_HASH: the second word is the number of symbols; the first symbol is none.
  for (let index = 1; index < view.getUint32(tags.get(DT_HASH)! + 4, true); index++) {
    const symbol = table + index * SYMBOL_BYTES, name = strings + view.getUint32(symbol, true);
    values.set(new TextDecoder().decode(object.subarray(name, object.indexOf(0, name))), number(symbol + 8));
  }
  const base = Deno.UnsafePointer.value(calls.handler) - BigInt(values.get("xl_handler")!);
  const ends = [...values.values(), text + textBytes].sort((one, other) => one - other);
  return {
    symbols: new Map(Array.from(values, ([name, value]) => {
      const end = ends.find((end) => end > value)!;
      return [name, { address: base + BigInt(value), roomBytes: end - value }];
    })),
    code: { first: base + BigInt(text), end: base + BigInt(text + textBytes) },
  };
}
