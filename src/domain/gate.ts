/** The gate: where device models in other processes come in, by a Unix socket each (docs/device-model-protocol.md). */

import type { Descriptor } from "../linux/descriptor.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { PacketListener, type PacketSocket } from "../linux/socket.ts";
import type { Emulator } from "../ioreq/servers.ts";
import { HEADER } from "../dm/protocol.ts";
import { type Answer, answer, type Caller, type GateDomain } from "./gate_operations.ts";
import { GateWatch, type WatchReport, type WatchStart } from "./gate_watch.ts";
import { WORKER_URLS } from "./worker_urls.ts";

/** Connections to one socket: its device model's, and those of some that wait for their turn. */
const MAX_CONNECTIONS = 4;

/** Descriptors that come with one request: those of a level-triggered line. */
const MOST_DESCRIPTORS = 2;

/** How long connections wait when this process can have no more descriptors. */
const EXHAUSTED_MS = 100;

/** Where a device model connects, and who it is then. Whoever comes after it is the same one. */
export interface GateSocket {
  readonly path: string;
  readonly emulator: Emulator;
  /** Whether the requests of one that is gone wait for the next. */
  readonly hold: boolean;
}

/** How the gate treats its device models. */
export interface GateOptions {
  /** A device model at that path has enabled a server. */
  served?(path: string): void;
  /** Told of every mistake of ours that a request has brought to light; device models go on. */
  fault(error: unknown): void;
}

/** A listening socket. */
class Door {
  readonly connections = new Set<Connection>();
  /** The one that has said HELLO. */
  occupant: Connection | undefined;
  /** Whether a device model has ever enabled a server. */
  served = false;
  timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly listener: PacketListener,
    readonly slot: number,
    readonly emulator: Emulator,
    readonly hold: boolean,
  ) {}
}

/** One that is connected. */
class Connection {
  constructor(readonly socket: PacketSocket, readonly slot: number, readonly door: Door) {}
}

/**
 * Listens from {@linkcode start} until it is disposed. All work is done in this isolate, one packet of one connection at
 * a time, without ever waiting; its Worker says who has one.
 */
export class Gate implements AsyncDisposable {
  readonly #worker = new Worker(WORKER_URLS.gate, { type: "module", name: "gate:" });
  readonly #doorbell = eventDescriptor("doorbell of the gate");
  readonly #watch: GateWatch;
  readonly #ready = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #doors: Door[] = [];
  readonly #slots: (Door | Connection | undefined)[] = [];
  #domain: GateDomain | undefined;
  #empty = Promise.withResolvers<void>();

  /** Starts the Worker: it loads its code while the caller goes on. */
  constructor(private readonly options: GateOptions) {
    const words = GateWatch.memory();
    this.#watch = new GateWatch(words, this.#doorbell.number);
    this.#worker.onmessage = ({ data }: MessageEvent<WatchReport>) => {
      if (data === "stopped") this.#stopped.resolve();
      else for (const slot of data) this.#turn(slot);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#stopped.resolve();
      options.fault(new Error(`the gate's Worker failed: ${event.message}`));
    };
    this.#worker.postMessage({ words, doorbell: this.#doorbell.number } satisfies WatchStart);
  }

  /** Opens the sockets, or none of them. @throws {SocketPathError} @throws {LinuxError} */
  start(domain: GateDomain, sockets: readonly GateSocket[]): void {
    using stack = new DisposableStack();
    const listeners = sockets.map(({ path }) => stack.use(PacketListener.create(path)));
    stack.move();
    this.#domain = domain;
    listeners.forEach((listener, index) => {
      const { emulator, hold } = sockets[index], door = new Door(listener, this.#freeSlot(), emulator, hold);
      this.#doors.push(door);
      this.#slots[door.slot] = door;
      this.#watch.watch(door.slot, listener.number);
    });
    this.#announce();
  }

  /** Resolves when the device model of every socket has enabled a server, or the gate is disposed. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Resolves when no device model is connected: for those that have been released, and have last words. */
  get empty(): Promise<void> {
    return this.#doors.some(({ occupant }) => occupant !== undefined) ? this.#empty.promise : Promise.resolve();
  }

  /** Closes every socket and connection; servers stay as they are. A second time does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch.stop();
    await this.#stopped.promise;
    this.#worker.terminate();
    for (const { timer, listener, connections } of this.#doors.splice(0)) {
      clearTimeout(timer);
      listener[Symbol.dispose]();
      for (const { socket } of connections) socket[Symbol.dispose]();
    }
    this.#slots.length = 0;
    this.#doorbell[Symbol.dispose]();
    this.#ready.resolve();
    this.#empty.resolve();
  }

  /** Something has come at a slot: one connection, or one packet, is taken. */
  #turn(slot: number): void {
    const user = this.#slots[slot];
    try {
      if (user instanceof Door) return this.#accept(user);
      if (user === undefined) return;
      const outcome = this.#exchange(user);
      if (outcome === "end") this.#end(user);
      else if (outcome !== "later") this.#watch.watch(slot, user.socket.number);
    } catch (error) {
      this.options.fault(error);
    }
  }

  #accept(door: Door): void {
    try {
      const socket = door.listener.accept();
      if (socket !== undefined) this.#connect(socket, door);
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      // The listener stays readable, so that looking again at once would be looking for ever.
      door.timer = setTimeout(() => this.#watch.watch(door.slot, door.listener.number), EXHAUSTED_MS);
      return;
    }
    this.#watch.watch(door.slot, door.listener.number);
  }

  #connect(socket: PacketSocket, door: Door): void {
    if (door.connections.size === MAX_CONNECTIONS) return socket[Symbol.dispose]();
    const connection = new Connection(socket, this.#freeSlot(), door);
    door.connections.add(connection);
    this.#slots[connection.slot] = connection;
    this.#watch.watch(connection.slot, socket.number);
  }

  /**
   * One request and its reply, if there is a request. "later": the reply comes when it is done, and the next request is
   * taken only then. "end": nothing more will come of this connection.
   */
  #exchange(connection: Connection): "answered" | "later" | "nothing" | "end" {
    const { socket } = connection;
    try {
      const packet = socket.receive(MOST_DESCRIPTORS, false);
      if (typeof packet === "string") return packet;
      using descriptors = new DisposableStack();
      for (const descriptor of packet.descriptors) descriptors.use(descriptor);
      if (packet.sizeBytes < HEADER.payload) return "end";
      const caller = this.#caller(connection, packet.descriptors);
      const reply = answer(this.#domain!, caller, packet.bytes, (error) => this.options.fault(error));
      if (reply instanceof Promise) {
        void reply.then((answer) => this.#reply(connection, answer));
        return "later";
      }
      socket.send(reply.packet, reply.descriptors);
      return "answered";
    } catch (error) {
      if (error instanceof LinuxError) return "end"; // it is gone, or does not take its replies
      throw error;
    }
  }

  /** To a request that took its time; the connection may be gone by now. */
  #reply(connection: Connection, { packet, descriptors }: Answer): void {
    if (this.#slots[connection.slot] !== connection) return;
    try {
      connection.socket.send(packet, descriptors);
      this.#watch.watch(connection.slot, connection.socket.number);
    } catch (error) {
      if (!(error instanceof LinuxError)) return this.options.fault(error);
      this.#end(connection);
    }
  }

  #caller(connection: Connection, descriptors: readonly Descriptor[]): Caller {
    const { door } = connection, left = [...descriptors];
    return {
      emulator: door.emulator,
      admitted: door.occupant === connection,
      admit: () => this.#admit(connection),
      takeDescriptor: () => left.shift()?.take(),
      serves: () => {
        door.served = true;
        this.options.served?.(door.listener.path);
        this.#announce();
      },
    };
  }

  #admit(connection: Connection): boolean {
    const { door } = connection, { occupant } = door;
    if (occupant !== undefined && occupant !== connection) {
      // A successor may be quicker than the news of its predecessor's end: that one's last requests come first.
      if (!occupant.socket.hungUp) return false;
      while (this.#exchange(occupant) === "answered");
      this.#end(occupant);
    }
    door.occupant = connection;
    return true;
  }

  #end(connection: Connection): void {
    const { door, slot, socket } = connection;
    this.#watch.forget(slot);
    this.#slots[slot] = undefined;
    door.connections.delete(connection);
    socket[Symbol.dispose]();
    if (door.occupant !== connection) return;
    door.occupant = undefined;
    const { servers, events } = this.#domain!;
    try {
      for (const server of servers.of(door.emulator)) events.release(server);
      servers.abandon(door.emulator, door.hold);
    } finally {
      if (this.#doors.every(({ occupant }) => occupant === undefined)) {
        this.#empty.resolve();
        this.#empty = Promise.withResolvers();
      }
    }
  }

  #announce(): void {
    if (this.#doors.every(({ served }) => served)) this.#ready.resolve();
  }

  #freeSlot(): number {
    const slot = this.#slots.indexOf(undefined);
    return slot < 0 ? this.#slots.length : slot;
  }
}
