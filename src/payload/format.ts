/** A payload's file: header, manifest, sections, build-id, and perhaps a signature (docs/live-patching.md). */

import { EINVAL } from "../linux/errno.ts";
import { sha256 } from "./digest.ts";
import { type Manifest, parseManifest, type Payload } from "./manifest.ts";
import { PayloadError } from "./payload_error.ts";

/** As PNG's: whoever takes the file for text, or a line's end for another, damages the first bytes. */
const MAGIC = new Uint8Array([0x89, 0x58, 0x50, 0x4c, 0x0d, 0x0a, 0x1a, 0x0a]);

/** The version of the format. */
export const FORMAT_VERSION = 1;

/** Offsets in the header: 32-bit words, little-endian. */
const VERSION = 8, MANIFEST_BYTES = 12, SECTION_BYTES = 16, HEADER_BYTES = 20;

const BUILD_ID_BYTES = 32, KEY_ID_BYTES = 32, SIGNATURE_BYTES = 64;

/** No payload of a hypervisor of this size comes near. */
const MAX_MANIFEST_BYTES = 1 << 20, MAX_SECTION_BYTES = 32 << 20;

/** The most bytes that a payload's file can have. */
export const MAX_PAYLOAD_BYTES = HEADER_BYTES + MAX_MANIFEST_BYTES + MAX_SECTION_BYTES + BUILD_ID_BYTES +
  KEY_ID_BYTES + SIGNATURE_BYTES;

/** Ed25519 over everything before it. */
export interface PayloadSignature {
  /** SHA-256 of the raw public key, in hexadecimal. */
  readonly keyId: string;
  readonly value: Uint8Array<ArrayBuffer>;
}

/** A payload as its file has it. */
export interface PayloadFile {
  readonly payload: Payload;
  /** SHA-256 of header, manifest and sections, in hexadecimal. */
  readonly buildId: string;
  readonly signature: PayloadSignature | undefined;
  /** What a signature covers: everything up to the build-id, and the build-id. */
  readonly signedBytes: Uint8Array<ArrayBuffer>;
}

/** @returns the file, unsigned. @throws {PayloadError} EINVAL: it is not a payload that {@linkcode decodePayload} takes */
export async function encodePayload(payload: Payload): Promise<Uint8Array<ArrayBuffer>> {
  const { sections, manifest } = split(payload);
  const head = new TextEncoder().encode(JSON.stringify(manifest));
  const content = concatenate([new Uint8Array(HEADER_BYTES), head, ...sections]);
  content.set(MAGIC);
  const header = new DataView(content.buffer);
  header.setUint32(VERSION, FORMAT_VERSION, true);
  header.setUint32(MANIFEST_BYTES, head.length, true);
  header.setUint32(SECTION_BYTES, content.length - HEADER_BYTES - head.length, true);
  const file = concatenate([content, Uint8Array.fromHex(await sha256(content))]);
  await decodePayload(file);
  return file;
}

/** @throws {PayloadError} EINVAL */
function split(payload: Payload): { sections: Uint8Array<ArrayBuffer>[]; manifest: Manifest } {
  const sections: Uint8Array<ArrayBuffer>[] = [];
  const sized = (section: Uint8Array<ArrayBuffer>) => ({ sizeBytes: sections[sections.push(section) - 1].length });
  const { modules, hooks, native, ...rest } = payload;
  const manifest: Manifest = {
    ...rest,
    modules: modules.map(({ source, ...module }) => ({ ...module, ...sized(utf8(module.path, source)) })),
    ...(hooks !== undefined && { hooks: { names: hooks.names, ...sized(utf8("hooks", hooks.source)) } }),
    native: native.map(({ name, bytes }) => ({ name, ...sized(bytes) })),
  };
  return { sections, manifest };
}

/** @param name of the file: begins the messages. @throws {PayloadError} EINVAL: damaged in any way; the message says how */
export async function decodePayload(bytes: Uint8Array<ArrayBuffer>, name?: string): Promise<PayloadFile> {
  try {
    return await decoded(bytes);
  } catch (error) {
    if (name === undefined || !(error instanceof PayloadError)) throw error;
    throw new PayloadError(error.errno, `${name}: ${error.message}`);
  }
}

async function decoded(bytes: Uint8Array<ArrayBuffer>): Promise<PayloadFile> {
  const { manifestEnd, contentEnd } = parts(bytes);
  const signedEnd = contentEnd + BUILD_ID_BYTES;
  const buildId = bytes.subarray(contentEnd, signedEnd).toHex();
  const digest = await sha256(bytes.subarray(0, contentEnd));
  if (digest !== buildId) throw bad(`altered: its build-id is ${buildId}, its content's ${digest}`);
  const manifest = parseManifest(json(bytes.subarray(HEADER_BYTES, manifestEnd)));
  return {
    payload: join(manifest, bytes.subarray(manifestEnd, contentEnd)),
    buildId,
    signature: bytes.length === signedEnd ? undefined : {
      keyId: bytes.subarray(signedEnd, signedEnd + KEY_ID_BYTES).toHex(),
      value: bytes.slice(signedEnd + KEY_ID_BYTES),
    },
    signedBytes: bytes.subarray(0, signedEnd),
  };
}

/** The signed file. */
export function withSignature({ signedBytes }: PayloadFile, { keyId, value }: PayloadSignature) {
  return concatenate([signedBytes, Uint8Array.fromHex(keyId), value]);
}

/** Where manifest and sections end, if the lengths are what they can be. */
function parts(bytes: Uint8Array): { manifestEnd: number; contentEnd: number } {
  if (MAGIC.some((byte, index) => index < bytes.length && bytes[index] !== byte)) {
    throw bad(`not a payload: begins with ${bytes.subarray(0, MAGIC.length).toHex()}`);
  }
  if (bytes.length < HEADER_BYTES) {
    throw bad(`truncated: ${bytes.length} bytes, of which the header needs ${HEADER_BYTES}`);
  }
  const header = new DataView(bytes.buffer, bytes.byteOffset);
  const version = header.getUint32(VERSION, true);
  if (version !== FORMAT_VERSION) throw bad(`format ${version}, where this hypervisor knows ${FORMAT_VERSION}`);
  const manifestBytes = limited(header.getUint32(MANIFEST_BYTES, true), MAX_MANIFEST_BYTES, "its manifest");
  const sectionBytes = limited(header.getUint32(SECTION_BYTES, true), MAX_SECTION_BYTES, "its sections");
  const manifestEnd = HEADER_BYTES + manifestBytes, contentEnd = manifestEnd + sectionBytes;
  const end = contentEnd + BUILD_ID_BYTES, more = bytes.length - end;
  if (more < 0) throw bad(`truncated: ${bytes.length} of ${end} bytes`);
  if (more !== 0 && more !== KEY_ID_BYTES + SIGNATURE_BYTES) {
    throw bad(`${more} bytes after its build-id, where a signature has ${KEY_ID_BYTES + SIGNATURE_BYTES}`);
  }
  return { manifestEnd, contentEnd };
}

function limited(bytes: number, most: number, what: string): number {
  if (bytes > most) throw bad(`${what} would have ${bytes} bytes, where ${most} are the most`);
  return bytes;
}

function join({ modules, hooks, native, ...rest }: Manifest, sections: Uint8Array<ArrayBuffer>): Payload {
  let at = 0;
  const take = (sizeBytes: number): Uint8Array<ArrayBuffer> => {
    if (at + sizeBytes > sections.length) throw bad(`sections end at ${sections.length}, of ${at + sizeBytes} bytes`);
    return sections.subarray(at, at += sizeBytes);
  };
  const payload = {
    ...rest,
    modules: modules.map(({ sizeBytes, ...module }) => ({ ...module, source: utf16(module.path, take(sizeBytes)) })),
    ...(hooks && { hooks: { names: hooks.names, source: utf16("hooks", take(hooks.sizeBytes)) } }),
    native: native.map(({ name, sizeBytes }) => ({ name, bytes: take(sizeBytes).slice() })),
  };
  if (at < sections.length) throw bad(`${sections.length - at} bytes of sections that its manifest does not know`);
  return payload;
}

function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf16("manifest", bytes));
  } catch (error) {
    if (error instanceof SyntaxError) throw bad(`manifest: ${error.message}`);
    throw error;
  }
}

function utf8(what: string, source: string): Uint8Array<ArrayBuffer> {
  if (!source.isWellFormed()) throw bad(`${what}: has half a surrogate pair, which UTF-8 cannot say`);
  return new TextEncoder().encode(source);
}

function utf16(what: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw bad(`${what}: is not UTF-8`);
  }
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function bad(what: string): PayloadError {
  return new PayloadError(EINVAL, what);
}
