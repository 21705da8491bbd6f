/** What the gate does for device models that ask through a socket: each operation, as Xen does it where Xen has it. */

import type { Descriptor } from "../linux/descriptor.ts";
import { EBADF, EBUSY, EINVAL, EIO, ENOENT, EOPNOTSUPP, EPROTO } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { type Bufioreq, RANGE, type RangeType } from "../ioreq/abi.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import type { Emulator, IoreqServers } from "../ioreq/servers.ts";
import type { ShutdownReason } from "../dm/host.ts";
import {
  decodeRequest,
  DESCRIPTORS_PER_REPLY,
  encodeRefusal,
  encodeReply,
  GFN_ENTRY_BYTES,
  GRANT_ENTRY,
  type Inputs,
  MATCHES_VALUE,
  NO_GFNS,
  type OperationName,
  type Outputs,
  PROTOCOL_VERSION,
  SHUTDOWN_REASONS,
} from "../dm/protocol.ts";
import type { ModelEvents } from "./model_events.ts";
import type { WindowOperations } from "./windows.ts";

/** A piece of guest memory that a device model was granted: so many bytes of a descriptor, from `offset` on. */
export interface Grant {
  readonly address: number;
  readonly sizeBytes: number;
  readonly descriptor: number;
  readonly offset: number;
}

/** What the gate needs of its domain. Refusals are DmOpErrors or LinuxErrors. */
export interface GateDomain {
  readonly servers: IoreqServers;
  readonly windows: Pick<WindowOperations, "addMemory" | "removeMemory" | "mapWindow" | "unmapWindow" | "hasWindow">;
  readonly events: ModelEvents;
  /** The eventfd of the pager. */
  readonly pagerDoorbell: number;
  readonly vcpus: number;
  readonly vcpusPerWaiter: number;
  /** The eventfd of each thread that waits for device models. */
  readonly waiterDoorbells: readonly number[];
  setIrqLevel(gsi: number, level: boolean): void;
  setIsaIrqLevel(irq: number, level: boolean): void;
  setPciIntxLevel(domain: number, bus: number, device: number, intx: number, level: boolean): void;
  setPciLinkRoute(link: number, irq: number): void;
  injectMsi(address: number | bigint, data: number): void;
  shutdown(reason: ShutdownReason | "crash"): void;
  /** Exactly what was granted: a descriptor shows nothing else. */
  grants(emulator: Emulator): readonly Grant[];
}

/** Who asks. */
export interface Caller {
  readonly emulator: Emulator;
  /** Whether it has become its socket's device model. */
  readonly admitted: boolean;
  /** Makes it that. @returns false while another is */
  admit(): boolean;
  /** It has enabled a server. */
  serves(): void;
  /** The next descriptor that came with the request, from now on the operation's. */
  takeDescriptor(): Descriptor | undefined;
}

/** What goes back to who asked. The descriptors stay the domain's. */
export interface Answer {
  readonly packet: Uint8Array<ArrayBuffer>;
  readonly descriptors: readonly number[];
}

/** What an operation results in: its OUT members, what follows them, what goes along. */
interface Result<N extends OperationName> {
  readonly out: Outputs<N>;
  readonly list?: Uint8Array;
  readonly descriptors?: readonly number[];
}

type Operations = {
  [N in OperationName]: (values: Inputs<N>, domain: GateDomain, caller: Caller) => Result<N> | Promise<Result<N>>;
};
type AnyOperation = Operations[OperationName];

const NOTHING = { out: {} } as const;

const OPERATIONS: Operations = {
  create_ioreq_server: ({ handle_bufioreq }, { servers }, { emulator }) => {
    return { out: { id: servers.create(emulator, handle_bufioreq as Bufioreq) } };
  },
  get_ioreq_server_info({ id, flags }, { servers }, { emulator }) {
    if ((flags & ~NO_GFNS) !== 0) throw new DmOpError("get_ioreq_server_info", EINVAL, `flags ${flags}`);
    const { bufioreqPort, ioreqGfns, bufioreqGfn } = servers.info(emulator, id, flags === 0);
    const gfns = { ioreq_gfn: BigInt(ioreqGfns[0] ?? 0), bufioreq_gfn: BigInt(bufioreqGfn ?? 0) };
    return { out: { bufioreq_port: bufioreqPort, ...gfns } };
  },
  map_io_range_to_ioreq_server({ id, type, start, end }, { servers }, { emulator }) {
    servers.mapRange(emulator, id, type as RangeType, ...bounds(start, end));
    return NOTHING;
  },
  unmap_io_range_from_ioreq_server({ id, type, start, end }, { servers, events }, { emulator }) {
    servers.unmapRange(emulator, id, type as RangeType, ...bounds(start, end));
    events.unclaimed(id, type as RangeType, ...bounds(start, end));
    return NOTHING;
  },
  buffer_io_range({ id, type, start, end }, { servers }, { emulator }) {
    servers.bufferRange(emulator, id, type as RangeType, ...bounds(start, end));
    return NOTHING;
  },
  set_ioreq_server_state({ id, enabled }, { servers }, caller) {
    servers.setEnabled(caller.emulator, id, enabled !== 0);
    if (enabled !== 0) caller.serves();
    return NOTHING;
  },
  destroy_ioreq_server({ id }, { servers, events }, { emulator }) {
    servers.destroy(emulator, id);
    events.release(id);
    return NOTHING;
  },
  set_pci_intx_level({ domain: segment, bus, device, intx, level }, domain) {
    domain.setPciIntxLevel(segment, bus, device, intx, isHigh("set_pci_intx_level", level));
    return NOTHING;
  },
  set_isa_irq_level({ isa_irq, level }, domain) {
    domain.setIsaIrqLevel(isa_irq, isHigh("set_isa_irq_level", level));
    return NOTHING;
  },
  set_irq_level({ irq, level }, domain) {
    domain.setIrqLevel(irq, isHigh("set_irq_level", level));
    return NOTHING;
  },
  set_pci_link_route({ link, isa_irq }, domain) {
    domain.setPciLinkRoute(link, isa_irq);
    return NOTHING;
  },
  inject_msi({ addr, data }, domain) {
    domain.injectMsi(addr, data);
    return NOTHING;
  },
  remote_shutdown({ reason }, domain) {
    const known = SHUTDOWN_REASONS.find(([number]) => number === reason);
    if (known === undefined) throw new DmOpError("remote_shutdown", EINVAL, `no reason ${reason}`);
    domain.shutdown(known[1]);
    return NOTHING;
  },
  nr_vcpus: (_, { vcpus }) => ({ out: { vcpus } }),
  hello({ version }, { vcpus, vcpusPerWaiter, waiterDoorbells }, caller) {
    if (version !== PROTOCOL_VERSION) throw new DmOpError("hello", EOPNOTSUPP, `version ${version}`);
    if (!caller.admit()) throw new DmOpError("hello", EBUSY, "another device model is connected");
    const waiters = waiterDoorbells.length;
    return { out: { version: PROTOCOL_VERSION, vcpus, vcpus_per_waiter: vcpusPerWaiter, waiters } };
  },
  acquire_resource({ id, frame, nr_frames }, { servers }, { emulator }) {
    const most = servers.resourceFrames;
    if (nr_frames === 0) return { out: { nr_frames: most } };
    // One more than there are is refused just as any number more.
    const banks = servers.acquire(emulator, id, frame, Math.min(nr_frames, most + 1));
    return { out: { nr_frames }, descriptors: banks.map(({ file }) => file.number) };
  },
  gfn_pages({ id }, { servers }, { emulator }) {
    const banks = servers.gfnPages(emulator, id);
    if (banks.length === 0) throw new DmOpError("gfn_pages", ENOENT, `server ${id} has no pages by gfn`);
    const { ioreqGfns, bufioreqGfn } = servers.info(emulator, id, true);
    const gfns = [...(bufioreqGfn === undefined ? [] : [bufioreqGfn]), ...ioreqGfns];
    const list = new DataView(new ArrayBuffer(gfns.length * GFN_ENTRY_BYTES));
    gfns.forEach((gfn, index) => list.setBigUint64(index * GFN_ENTRY_BYTES, BigInt(gfn), true));
    const descriptors = banks.map(({ file }) => file.number);
    return { out: { nr_gfns: gfns.length }, list: new Uint8Array(list.buffer), descriptors };
  },
  server_memory({ id }, { servers }, { emulator }) {
    const { notification: { file, frames }, doorbell } = servers.memory(emulator, id);
    return { out: { bytes: frames * PAGE_SIZE }, descriptors: [file.number, doorbell.number] };
  },
  waiters({ first }, { waiterDoorbells }) {
    const descriptors = waiterDoorbells.slice(first, first + DESCRIPTORS_PER_REPLY);
    return { out: { nr_waiters: waiterDoorbells.length }, descriptors };
  },
  guest_memory({ first }, domain, { emulator }) {
    const grants = domain.grants(emulator), part = grants.slice(first, first + DESCRIPTORS_PER_REPLY);
    const list = new DataView(new ArrayBuffer(part.length * GRANT_ENTRY.bytes));
    part.forEach(({ address, sizeBytes, offset }, index) => {
      const at = index * GRANT_ENTRY.bytes;
      list.setBigUint64(at + GRANT_ENTRY.address, BigInt(address), true);
      list.setBigUint64(at + GRANT_ENTRY.sizeBytes, BigInt(sizeBytes), true);
      list.setBigUint64(at + GRANT_ENTRY.offset, BigInt(offset), true);
    });
    const descriptors = part.map(({ descriptor }) => descriptor);
    return { out: { nr_ranges: grants.length }, list: new Uint8Array(list.buffer), descriptors };
  },
  add_memory({ id, bytes }, { servers, windows }, { emulator, takeDescriptor }) {
    servers.memory(emulator, id);
    const file = requireDescriptor("add_memory", takeDescriptor());
    return { out: { memory: windows.addMemory(id, file, Number(bytes)) } };
  },
  remove_memory({ id, memory }, { servers, windows }, { emulator }) {
    servers.memory(emulator, id);
    windows.removeMemory(id, memory);
    return NOTHING;
  },
  map_window({ id, transport, gfn, nr_pages }, { servers, windows }, { emulator }) {
    const { inherited } = servers.memory(emulator, id), first = Number(gfn), pages = Number(nr_pages);
    if (inherited && windows.hasWindow(id, first, pages, transport)) return NOTHING;
    return mapWindow(servers, windows, emulator, id, first, pages, transport);
  },
  unmap_window({ id, gfn, nr_pages }, { servers, windows }, { emulator }) {
    servers.memory(emulator, id);
    const first = Number(gfn), pages = Number(nr_pages);
    if (!windows.hasWindow(id, first, pages)) throw new DmOpError("unmap_window", ENOENT, `gfn 0x${gfn.toString(16)}`);
    try {
      servers.unmapRange(emulator, id, RANGE.MEMORY, first * PAGE_SIZE, (first + pages) * PAGE_SIZE - 1);
    } catch (error) {
      if (!(error instanceof DmOpError)) throw error; // the device model has taken it away itself
    }
    return windows.unmapWindow(id, first).then(() => NOTHING);
  },
  pager({ id }, { servers, pagerDoorbell }, { emulator }) {
    servers.memory(emulator, id);
    return { out: {}, descriptors: [pagerDoorbell] };
  },
  connect_write({ id, type, flags, length, addr, value }, { servers, events }, { emulator, takeDescriptor }) {
    const claims = servers.claims(emulator, id), matches = (flags & MATCHES_VALUE) !== 0;
    if (
      (flags & ~MATCHES_VALUE) !== 0 || (type !== RANGE.PORT && type !== RANGE.MEMORY) || (!matches && value !== 0n)
    ) {
      throw new DmOpError("connect_write", EINVAL, `type ${type}, flags ${flags}`);
    }
    const space = type === RANGE.PORT ? "port" : "memory",
      write = { space, address: Number(addr), sizeBytes: length } as const;
    const event = requireDescriptor("connect_write", takeDescriptor());
    withEvents([event], (release) => {
      events.connectWrite(id, claims, matches ? { ...write, value } : write, event.number, release);
    });
    return NOTHING;
  },
  connect_line({ id, irq }, { servers, events }, { emulator, takeDescriptor }) {
    servers.memory(emulator, id);
    const raise = requireDescriptor("connect_line", takeDescriptor()), ended = takeDescriptor();
    withEvents(ended === undefined ? [raise] : [raise, ended], (release) => {
      events.connectLine(id, irq, raise.number, ended?.number, release);
    });
    return NOTHING;
  },
};

/**
 * Carries out a request of at least a header, whatever it holds. An operation that may have to wait is answered by a
 * promise, which never rejects.
 * @param fault told of an exception that is neither a refusal nor the host's: a mistake of ours. The answer is EIO then
 */
export function answer(
  domain: GateDomain,
  caller: Caller,
  packet: Uint8Array,
  fault: (error: unknown) => void,
): Answer | Promise<Answer> {
  const refuse = (errno: number) => ({ packet: encodeRefusal(packet, errno), descriptors: [] });
  const request = decodeRequest(packet);
  if (typeof request === "number") return refuse(request);
  const { name, values } = request;
  if (!caller.admitted && name !== "hello") return refuse(EPROTO);
  const done = ({ out, list, descriptors }: Result<OperationName>) => {
    return { packet: encodeReply(packet, name, out, list), descriptors: descriptors ?? [] };
  };
  const failed = (error: unknown) => {
    if (error instanceof DmOpError || error instanceof LinuxError) return refuse(error.errno);
    fault(error);
    return refuse(EIO);
  };
  try {
    // Each operation takes what its own layout has read.
    const operation = OPERATIONS[name] as (...args: [unknown, GateDomain, Caller]) => ReturnType<AnyOperation>;
    const result = operation(values, domain, caller);
    return result instanceof Promise ? result.then(done).catch(failed) : done(result);
  } catch (error) {
    return failed(error);
  }
}

/** @throws {DmOpError} EBADF */
function requireDescriptor(operation: string, descriptor: Descriptor | undefined): Descriptor {
  if (descriptor !== undefined) return descriptor;
  throw new DmOpError(operation, EBADF, "no descriptor came along");
}

/** Eventfds stay open until they are disconnected, which needs them; those of a connection that is refused are closed. */
function withEvents(descriptors: readonly Descriptor[], connect: (release: () => void) => void): void {
  using stack = new DisposableStack();
  for (const descriptor of descriptors) stack.use(descriptor);
  connect(() => descriptors.forEach((descriptor) => descriptor[Symbol.dispose]()));
  stack.move();
}

/** The window, then the range; without the range no window. */
async function mapWindow(
  servers: IoreqServers,
  windows: GateDomain["windows"],
  emulator: Emulator,
  id: number,
  first: number,
  pages: number,
  transport: number,
): Promise<typeof NOTHING> {
  await windows.mapWindow(id, first, pages, transport);
  try {
    servers.mapRange(emulator, id, RANGE.MEMORY, first * PAGE_SIZE, (first + pages) * PAGE_SIZE - 1);
  } catch (error) {
    await windows.unmapWindow(id, first);
    throw error;
  }
  return NOTHING;
}

/** Range ends from 2^53 on are as good as 2^53 - 1: no guest has addresses there. @throws {DmOpError} EINVAL */
function bounds(start: bigint, end: bigint): [first: number, last: number] {
  if (start > end) throw new DmOpError("io_range", EINVAL, `[0x${start.toString(16)}, 0x${end.toString(16)}]`);
  return [Number(start), Math.min(Number(end), Number.MAX_SAFE_INTEGER)];
}

/** @throws {DmOpError} EINVAL neither 0 nor 1 (Xen: set_pci_intx_level, set_isa_irq_level) */
function isHigh(operation: string, level: number): boolean {
  if (level !== 0 && level !== 1) throw new DmOpError(operation, EINVAL, `level ${level}`);
  return level === 1;
}
