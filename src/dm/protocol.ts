/**
 * The device model protocol as data: what one packet each way holds. docs/device-model-protocol.md is its text; Xen's
 * operations have the structures of xen/hvm/dm_op.h, member for member.
 */

import { EINVAL, EOPNOTSUPP } from "../linux/errno.ts";
import { DM_OP } from "../ioreq/abi.ts";
import type { ShutdownReason } from "./host.ts";

/** Goes up with every change that a device model written before it would notice; operations were added since. */
export const PROTOCOL_VERSION = 1;

/** A request: u32 operation, u32 0, payload. A reply: u32 operation, i32 result (0 or -errno), payload. */
export const HEADER = { op: 0, pad: 4, result: 4, payload: 8 } as const;

/** The largest request: sizeof(struct xen_dm_op). A device model may send that much for any operation. */
export const MAX_REQUEST_BYTES = 32;

/** Descriptors in one reply to WAITERS or GUEST_MEMORY. */
export const DESCRIPTORS_PER_REPLY = 250;

/** An entry of GUEST_MEMORY's list: u64 guest-physical address, u64 bytes, u64 offset in its descriptor. */
export const GRANT_ENTRY = { address: 0, sizeBytes: 8, offset: 16, bytes: 24 } as const;

/** An entry of GFN_PAGES' list: u64 gfn. */
export const GFN_ENTRY_BYTES = 8;

/** get_ioreq_server_info's flag: do not map the pages by gfn (XEN_DMOP_no_gfns). */
export const NO_GFNS = 1;

/** connect_write's flag: only writes of `value` (KVM_IOEVENTFD_FLAG_DATAMATCH); without it `value` is 0. */
export const MATCHES_VALUE = 1;

/** Reasons of remote_shutdown: Xen's SHUTDOWN_*, then ours from 0x100 on. The first of a kind is the one that is sent. */
export const SHUTDOWN_REASONS: readonly (readonly [number: number, reason: ShutdownReason | "crash"])[] = [
  [0, "poweroff"],
  [1, "reset"],
  [3, "crash"],
  [4, "reset"], // SHUTDOWN_watchdog: restart because the time is over
  [5, "reset"], // SHUTDOWN_soft_reset
  [0x100, "left"],
  [0x101, "console closed"],
];

type Width = "u8" | "u16" | "u32" | "u64";
type Fields = Readonly<Record<string, readonly [offset: number, width: Width]>>;

/** One operation's payload: offsets count from the header's end. */
export interface Layout {
  readonly op: number;
  readonly sizeBytes: number;
  readonly in: Fields;
  readonly out: Fields;
  /** Padding that must be zero: offset and bytes. */
  readonly zero: readonly (readonly [offset: number, bytes: number])[];
}

const RANGE = {
  sizeBytes: 24,
  in: { id: [0, "u16"], type: [4, "u32"], start: [8, "u64"], end: [16, "u64"] },
  out: {},
  zero: [[2, 2]],
} as const;

/** Every operation by its name. */
export const OPERATIONS = {
  create_ioreq_server: {
    op: DM_OP.create_ioreq_server,
    sizeBytes: 6,
    in: { handle_bufioreq: [0, "u8"] },
    out: { id: [4, "u16"] },
    zero: [[1, 3]],
  },
  get_ioreq_server_info: {
    op: DM_OP.get_ioreq_server_info,
    sizeBytes: 24,
    in: { id: [0, "u16"], flags: [2, "u16"] },
    out: { bufioreq_port: [4, "u32"], ioreq_gfn: [8, "u64"], bufioreq_gfn: [16, "u64"] },
    zero: [],
  },
  map_io_range_to_ioreq_server: { op: DM_OP.map_io_range_to_ioreq_server, ...RANGE },
  unmap_io_range_from_ioreq_server: { op: DM_OP.unmap_io_range_from_ioreq_server, ...RANGE },
  set_ioreq_server_state: {
    op: DM_OP.set_ioreq_server_state,
    sizeBytes: 4,
    in: { id: [0, "u16"], enabled: [2, "u8"] },
    out: {},
    zero: [[3, 1]],
  },
  destroy_ioreq_server: {
    op: DM_OP.destroy_ioreq_server,
    sizeBytes: 4,
    in: { id: [0, "u16"] },
    out: {},
    zero: [[2, 2]],
  },
  set_pci_intx_level: {
    op: DM_OP.set_pci_intx_level,
    sizeBytes: 6,
    in: { domain: [0, "u16"], bus: [2, "u8"], device: [3, "u8"], intx: [4, "u8"], level: [5, "u8"] },
    out: {},
    zero: [],
  },
  set_isa_irq_level: {
    op: DM_OP.set_isa_irq_level,
    sizeBytes: 2,
    in: { isa_irq: [0, "u8"], level: [1, "u8"] },
    out: {},
    zero: [],
  },
  set_pci_link_route: {
    op: DM_OP.set_pci_link_route,
    sizeBytes: 2,
    in: { link: [0, "u8"], isa_irq: [1, "u8"] },
    out: {},
    zero: [],
  },
  inject_msi: {
    op: DM_OP.inject_msi,
    sizeBytes: 16,
    in: { data: [0, "u32"], addr: [8, "u64"] },
    out: {},
    zero: [[4, 4]],
  },
  remote_shutdown: {
    op: DM_OP.remote_shutdown,
    sizeBytes: 4,
    in: { reason: [0, "u32"] },
    out: {},
    zero: [],
  },
  set_irq_level: {
    op: DM_OP.set_irq_level,
    sizeBytes: 8,
    in: { irq: [0, "u32"], level: [4, "u8"] },
    out: {},
    zero: [[5, 3]],
  },
  nr_vcpus: { op: DM_OP.nr_vcpus, sizeBytes: 4, in: {}, out: { vcpus: [0, "u32"] }, zero: [] },
  hello: {
    op: 0x100,
    sizeBytes: 16,
    in: { version: [0, "u32"] },
    out: { version: [0, "u32"], vcpus: [4, "u32"], vcpus_per_waiter: [8, "u32"], waiters: [12, "u32"] },
    zero: [],
  },
  acquire_resource: {
    op: 0x101,
    sizeBytes: 12,
    in: { id: [0, "u16"], frame: [4, "u32"], nr_frames: [8, "u32"] },
    out: { nr_frames: [8, "u32"] },
    zero: [[2, 2]],
  },
  gfn_pages: {
    op: 0x102,
    sizeBytes: 8,
    in: { id: [0, "u16"] },
    out: { nr_gfns: [4, "u32"] },
    zero: [[2, 2]],
  },
  server_memory: {
    op: 0x103,
    sizeBytes: 8,
    in: { id: [0, "u16"] },
    out: { bytes: [4, "u32"] },
    zero: [[2, 2]],
  },
  waiters: { op: 0x104, sizeBytes: 8, in: { first: [0, "u32"] }, out: { nr_waiters: [4, "u32"] }, zero: [] },
  guest_memory: { op: 0x105, sizeBytes: 8, in: { first: [0, "u32"] }, out: { nr_ranges: [4, "u32"] }, zero: [] },
  buffer_io_range: { op: 0x106, ...RANGE },
  add_memory: {
    op: 0x107,
    sizeBytes: 16,
    in: { id: [0, "u16"], bytes: [8, "u64"] },
    out: { memory: [4, "u32"] },
    zero: [[2, 2]],
  },
  remove_memory: { op: 0x108, sizeBytes: 8, in: { id: [0, "u16"], memory: [4, "u32"] }, out: {}, zero: [[2, 2]] },
  map_window: {
    op: 0x109,
    sizeBytes: 24,
    in: { id: [0, "u16"], transport: [2, "u16"], gfn: [8, "u64"], nr_pages: [16, "u64"] },
    out: {},
    zero: [[4, 4]],
  },
  unmap_window: {
    op: 0x10a,
    sizeBytes: 24,
    in: { id: [0, "u16"], gfn: [8, "u64"], nr_pages: [16, "u64"] },
    out: {},
    zero: [[2, 6]],
  },
  pager: { op: 0x10b, sizeBytes: 4, in: { id: [0, "u16"] }, out: {}, zero: [[2, 2]] },
  connect_write: {
    op: 0x10c,
    sizeBytes: 24,
    in: { id: [0, "u16"], type: [2, "u8"], flags: [3, "u8"], length: [4, "u32"], addr: [8, "u64"], value: [16, "u64"] },
    out: {},
    zero: [],
  },
  connect_line: { op: 0x10d, sizeBytes: 8, in: { id: [0, "u16"], irq: [4, "u32"] }, out: {}, zero: [[2, 2]] },
} as const satisfies Record<string, Layout>;

export type OperationName = keyof typeof OPERATIONS;

type Values<F extends Fields> = { -readonly [K in keyof F]: F[K] extends readonly [number, "u64"] ? bigint : number };
export type Inputs<N extends OperationName> = Values<(typeof OPERATIONS)[N]["in"]>;
export type Outputs<N extends OperationName> = Values<(typeof OPERATIONS)[N]["out"]>;

const NAMES = new Map(Object.entries(OPERATIONS).map(([name, { op }]) => [op as number, name as OperationName]));

/** A request as the hypervisor understood it. */
export interface Request {
  readonly name: OperationName;
  readonly values: Record<string, number | bigint>;
}

/**
 * Reads a request of at least a header.
 * @returns the request, or the error number that it is refused with (Xen: dm_op() before any operation)
 */
export function decodeRequest(packet: Uint8Array): Request | number {
  const view = viewOf(packet), name = NAMES.get(view.getUint32(HEADER.op, true));
  if (name === undefined) return EOPNOTSUPP;
  const { sizeBytes, zero, in: fields }: Layout = OPERATIONS[name];
  if (packet.length < HEADER.payload + sizeBytes || packet.length > MAX_REQUEST_BYTES) return EINVAL;
  const isZero = (from: number, bytes: number) => packet.subarray(from, from + bytes).every((byte) => byte === 0);
  if (!isZero(HEADER.pad, 4) || !zero.every(([offset, bytes]) => isZero(HEADER.payload + offset, bytes))) return EINVAL;
  return { name, values: read(fields, view) };
}

/** A request's packet. */
export function encodeRequest<N extends OperationName>(name: N, values: Inputs<N>): Uint8Array<ArrayBuffer> {
  const { op, sizeBytes, in: fields }: Layout = OPERATIONS[name];
  const packet = new Uint8Array(HEADER.payload + sizeBytes), view = viewOf(packet);
  view.setUint32(HEADER.op, op, true);
  write(fields, view, values);
  return packet;
}

/** The reply to a refused request: what came, with the result. @param errno positive */
export function encodeRefusal(request: Uint8Array, errno: number): Uint8Array<ArrayBuffer> {
  const whole = request.length <= MAX_REQUEST_BYTES;
  const packet = request.slice(0, whole ? request.length : HEADER.payload);
  viewOf(packet).setInt32(HEADER.result, -errno, true);
  return packet;
}

/**
 * The reply to a request that was carried out: what came, with the result and the operation's OUT members.
 * @param list what follows the payload, if anything does
 */
export function encodeReply<N extends OperationName>(
  request: Uint8Array,
  name: N,
  out: Outputs<N>,
  list?: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const { sizeBytes, out: fields }: Layout = OPERATIONS[name], end = HEADER.payload + sizeBytes;
  const packet = new Uint8Array(list === undefined ? request.length : end + list.length);
  packet.set(list === undefined ? request : request.subarray(0, end));
  if (list !== undefined) packet.set(list, end);
  const view = viewOf(packet);
  view.setInt32(HEADER.result, 0, true);
  write(fields, view, out);
  return packet;
}

/** A reply as the device model understands it. */
export interface Reply<N extends OperationName> {
  /** 0, or a negative error number. */
  readonly result: number;
  readonly out: Outputs<N>;
  /** What follows the payload. */
  readonly list: DataView;
}

/** Reads the reply to operation `name`; undefined if it is none. */
export function decodeReply<N extends OperationName>(name: N, packet: Uint8Array): Reply<N> | undefined {
  const { op, sizeBytes, out }: Layout = OPERATIONS[name], end = HEADER.payload + sizeBytes, view = viewOf(packet);
  if (packet.length < end || view.getUint32(HEADER.op, true) !== op) return undefined;
  const list = new DataView(packet.buffer, packet.byteOffset + end, packet.length - end);
  return { result: view.getInt32(HEADER.result, true), out: read(out, view) as Outputs<N>, list };
}

function viewOf(packet: Uint8Array): DataView {
  return new DataView(packet.buffer, packet.byteOffset, packet.length);
}

function read(fields: Fields, view: DataView): Record<string, number | bigint> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, [offset, width]]) => [name, READ[width](view, HEADER.payload + offset)]),
  );
}

function write(fields: Fields, view: DataView, values: Readonly<Record<string, number | bigint>>): void {
  for (const [name, [offset, width]] of Object.entries(fields)) {
    WRITE[width](view, HEADER.payload + offset, values[name]);
  }
}

const READ: Record<Width, (view: DataView, at: number) => number | bigint> = {
  u8: (view, at) => view.getUint8(at),
  u16: (view, at) => view.getUint16(at, true),
  u32: (view, at) => view.getUint32(at, true),
  u64: (view, at) => view.getBigUint64(at, true),
};

const WRITE: Record<Width, (view: DataView, at: number, value: number | bigint) => void> = {
  u8: (view, at, value) => view.setUint8(at, Number(value)),
  u16: (view, at, value) => view.setUint16(at, Number(value), true),
  u32: (view, at, value) => view.setUint32(at, Number(value), true),
  u64: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
};
