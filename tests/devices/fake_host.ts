/** A machine for testing device models: a host without a hypervisor, descriptors without Linux, and a script to run. */

import { assertEquals } from "@std/assert";
import type { DescriptorCalls } from "../../src/devices/console.ts";
import type {
  DeviceModelHost,
  EventChannel,
  GuestMemoryAccess,
  RangeHandler,
  ShutdownReason,
  Watch,
} from "../../src/dm/host.ts";

export const INPUT = 3, OUTPUT = 4, PIPE = 5;

/** The one page of guest memory that there is, and the event channel. */
export const PAGE_ADDRESS = 0xfeff_f000, CHANNEL = 2;

const POLLIN = 1, POLLOUT = 4, POLLERR = 8, EPIPE = 32, EAGAIN = 11;
const PAGE_SIZE = 4096;

/** A console's two descriptors, as the tests see them from the other end, and a pipe that never blocks. */
export class FakeDescriptors implements DescriptorCalls {
  /** What was typed and not read. */
  readonly typed: number[] = [];
  ended = false;
  /** What came by the pipe and was not read. */
  readonly piped: number[] = [];
  printed = "";
  /** Bytes that the output still takes; a write beyond it would block. */
  room = Infinity;
  broken = false;
  /** The sizes of all writes. */
  readonly writes: number[] = [];
  /** Results that the next calls return instead of doing anything. */
  readonly failures: number[] = [];

  type(text: string): void {
    for (const character of text) this.typed.push(character.charCodeAt(0));
  }

  read(descriptor: number, buffer: Uint8Array): number {
    if (descriptor === PIPE) return this.#readPipe(buffer);
    assertEquals(descriptor, INPUT);
    const failure = this.failures.shift();
    if (failure !== undefined) return failure;
    assertEquals(this.typed.length > 0 || this.ended, true, "this read would block");
    const bytes = this.typed.splice(0, buffer.length);
    buffer.set(bytes);
    return bytes.length;
  }

  #readPipe(buffer: Uint8Array): number {
    const bytes = this.piped.splice(0, buffer.length);
    buffer.set(bytes);
    return bytes.length > 0 ? bytes.length : -EAGAIN;
  }

  write(descriptor: number, buffer: Uint8Array): number {
    assertEquals(descriptor, OUTPUT);
    const failure = this.failures.shift();
    if (failure !== undefined) return failure;
    if (this.broken) return -EPIPE;
    assertEquals(this.room > 0, true, "this write would block");
    const bytes = buffer.subarray(0, this.room);
    this.room -= bytes.length;
    this.writes.push(bytes.length);
    for (const byte of bytes) this.printed += String.fromCharCode(byte);
    return bytes.length;
  }

  poll(descriptor: number, events: number): number {
    if (descriptor === PIPE) return this.piped.length > 0 ? events & POLLIN : 0;
    if (descriptor === INPUT) return this.typed.length > 0 || this.ended ? events & POLLIN : 0;
    return this.broken ? POLLERR | (events & POLLOUT) : this.room > 0 ? events & POLLOUT : 0;
  }
}

function notHere(): never {
  throw new Error("no device of the platform has memory of its own or windows, or knows PCI");
}

/** One generation of a device model's host. What outlives it is in the {@linkcode FakeMachine}. */
class FakeHost implements DeviceModelHost {
  readonly vcpus = 1;
  readonly memory: GuestMemoryAccess = {
    read: (address, target) => target.set(this.machine.pagePart(address, target.length)),
    write: (address, source) => this.machine.pagePart(address, source.length).set(source),
    contains: notHere,
    locate: notHere,
    pieces: [],
  };
  readonly mapMemory = notHere;
  readonly mapPci = notHere;
  readonly createMemory = notHere;
  readonly importMemory = notHere;
  readonly mapWindow = notHere;
  readonly unmapWindow = notHere;
  readonly unmapPorts = notHere;
  readonly unmapMemory = notHere;
  readonly setPciIntxLevel = notHere;
  readonly injectMsi = notHere;
  readonly connectWrite = notHere;
  readonly connectLine = notHere;
  readonly beforeRelief = notHere;
  readonly whenRelieved = notHere;
  readonly onInvalidate = notHere;
  readonly ranges: { first: number; count: number; handler: RangeHandler }[] = [];
  readonly watches: Watch[] = [];
  readonly sleepers: (() => void)[] = [];
  readonly stoppers: (() => void)[] = [];
  /** Who hears of the guest's events; an event is pending at first. */
  arrived: (() => void) | undefined;
  #stateUsed = 0;

  constructor(private readonly machine: FakeMachine) {}

  mapPorts(first: number, count: number, handler: RangeHandler): void {
    for (const other of this.ranges) {
      const disjoint = first >= other.first + other.count || first + count <= other.first;
      assertEquals(disjoint, true, `port 0x${first.toString(16)} is claimed twice`);
    }
    this.ranges.push({ first, count, handler });
  }

  setIrqLevel(gsi: number, level: boolean): void {
    const edges = this.machine.edges.get(gsi) ?? [];
    this.machine.edges.set(gsi, edges);
    edges.push(level);
    this.machine.levels.set(gsi, level);
  }

  bindEventChannel(port: number, arrived: () => void): EventChannel {
    assertEquals([port, this.arrived], [CHANNEL, undefined]);
    this.arrived = arrived;
    this.machine.sendEvent();
    return { notify: () => void this.machine.events++ };
  }

  state(sizeBytes: number): DataView<ArrayBuffer> {
    const view = new DataView(this.machine.state, this.#stateUsed, sizeBytes);
    this.#stateUsed += sizeBytes;
    return view;
  }

  watch(watch: Watch): void {
    this.watches.push(watch);
  }

  beforeSleep(flush: () => void): void {
    this.sleepers.push(flush);
  }

  beforeStop(flush: () => void): void {
    this.stoppers.push(flush);
  }

  waitFor(descriptor: number, events: number): boolean {
    this.machine.waits++;
    this.machine.descriptors.room ||= this.machine.roomAfterWait;
    return this.machine.descriptors.poll(descriptor, events) !== 0;
  }

  shutdown(reason: ShutdownReason): void {
    this.machine.shutdowns.push(reason);
  }
}

/** A device model with everything around it that is not lost when its Worker is replaced. */
export class FakeMachine {
  readonly state = new ArrayBuffer(65536);
  readonly descriptors = new FakeDescriptors();
  /** Every level that a line was driven to, by gsi, and the last of them. */
  readonly edges = new Map<number, boolean[]>();
  readonly levels = new Map<number, boolean>();
  readonly shutdowns: ShutdownReason[] = [];
  /** What the other end of a full output takes while the model waits; 0: the domain stops instead. */
  roomAfterWait = 0;
  waits = 0;
  /** The page that the guest shares, and how many events it was sent. */
  readonly page = new Uint8Array(PAGE_SIZE);
  events = 0;
  #isEventPending = false;
  /** The clock of the host, in ms since 1970. */
  nowMs = 0;
  #host!: FakeHost;

  /** @param build makes the device model; called again at each restart */
  constructor(private readonly build: (host: DeviceModelHost, machine: FakeMachine) => void) {
    this.restart();
  }

  /** Replaces the model's Worker: nothing stays but what is in the state. */
  restart(): void {
    this.#host = new FakeHost(this);
    this.build(this.#host, this);
  }

  out(port: number, value: number, size = 1): void {
    const range = this.#range(port, size);
    range.handler.write(port - range.first, size, value);
  }

  in(port: number, size = 1): number {
    const range = this.#range(port, size);
    return range.handler.read(port - range.first, size) % 2 ** (8 * size);
  }

  /** @throws {RangeError} not all of it is in the page */
  pagePart(address: number, sizeBytes: number): Uint8Array {
    const at = address - PAGE_ADDRESS;
    if (at < 0 || at + sizeBytes > PAGE_SIZE) throw new RangeError(`${sizeBytes} bytes at 0x${address.toString(16)}`);
    return this.page.subarray(at, at + sizeBytes);
  }

  /** The guest sends an event. */
  sendEvent(): void {
    this.#isEventPending = true;
  }

  level(gsi: number): boolean {
    return this.levels.get(gsi) ?? false;
  }

  /** What the runtime does when no access is waiting, until it would really sleep. */
  sleep(): void {
    for (let progress = true; progress;) {
      progress = this.#isEventPending;
      this.#isEventPending = false;
      if (progress) this.#host.arrived?.();
      for (const flush of this.#host.sleepers) flush();
      for (const watch of this.#host.watches) {
        const interest = watch.interest();
        const events = interest < 0 ? 0 : this.descriptors.poll(watch.descriptor, interest);
        if (events !== 0) watch.ready(events);
        progress ||= events !== 0;
      }
    }
  }

  /** What the runtime does when the domain has stopped. */
  stop(): void {
    for (const flush of this.#host.stoppers.toReversed()) flush();
  }

  /**
   * Runs a script of statements, separated by semicolons: `out PORT VALUE`, `in PORT -> VALUE` (and outw, inw, outl,
   * inl), `irq GSI -> LEVEL`, `edges GSI -> 1010` (all levels since the last look), `type TEXT`, `eof`, `sleep`, `stop`,
   * `restart`, `printed -> TEXT`, `shutdown -> REASON`, `now ISO-TIME`, `wait MILLISECONDS`. TEXT is JSON.
   */
  run(script: string): void {
    for (const statement of script.split(";").map((text) => text.trim()).filter((text) => text !== "")) {
      const [action, expected] = statement.split("->").map((text) => text.trim());
      const [verb, first, ...rest] = action.split(" ");
      const result = this.#statement(verb, first, rest.join(" "));
      if (expected !== undefined) assertEquals(result, parseExpected(result, expected), statement);
    }
  }

  #statement(verb: string, first: string, second: string): unknown {
    const size = verb.endsWith("w") ? 2 : verb.endsWith("l") ? 4 : 1;
    if (/^out[wl]?$/.test(verb)) return this.out(Number(first), Number(second), size);
    if (/^in[wl]?$/.test(verb)) return this.in(Number(first), size);
    switch (verb) {
      case "irq":
        return Number(this.level(Number(first)));
      case "edges":
        return (this.edges.get(Number(first))?.splice(0) ?? []).map(Number).join("");
      case "type":
        return this.descriptors.type(JSON.parse(`${first} ${second}`));
      case "eof":
        this.descriptors.ended = true;
        return;
      case "sleep":
        return this.sleep();
      case "stop":
        return this.stop();
      case "restart":
        return this.restart();
      case "printed":
        return this.descriptors.printed;
      case "shutdown":
        return this.shutdowns.join(" ");
      case "now":
        this.nowMs = Date.parse(first);
        return;
      case "wait":
        this.nowMs += Number(first);
        return;
      default:
        throw new Error(`no such statement: ${verb}`);
    }
  }

  #range(port: number, size: number): FakeHost["ranges"][number] {
    const range = this.#host.ranges.find(({ first, count }) => port >= first && port + size <= first + count);
    if (!range) throw new Error(`${size} bytes at port 0x${port.toString(16)} are not claimed`);
    return range;
  }
}

function parseExpected(result: unknown, expected: string): unknown {
  if (expected.startsWith('"')) return JSON.parse(expected);
  return typeof result === "number" ? Number(expected) : expected;
}

/** A table of scripts, one test each. */
export function testScripts(
  build: ConstructorParameters<typeof FakeMachine>[0],
  table: [name: string, script: string][],
) {
  for (const [name, script] of table) {
    Deno.test(name, () => new FakeMachine(build).run(script));
    // The same with the Worker replaced after every statement.
    Deno.test(`${name} (across generations)`, () => new FakeMachine(build).run(script.replaceAll(";", "; restart;")));
  }
}
