/** Native payloads: loads objects of machine code near our own, and keeps the order in which they are applied. */

import { CodeMemory } from "../linux/code.ts";
import { EEXIST, EINVAL } from "../linux/errno.ts";
import type { MachineMemory } from "../memory/bank.ts";
import type { Vmap } from "../memory/vmap.ts";
import { parseElfObject } from "./elf_object.ts";
import { NativeImage } from "./native_image.ts";
import { layOut } from "./native_layout.ts";
import { NativeLoading } from "./native_loading.ts";
import { NativePayload, type PayloadStack } from "./native_payload.ts";
import { PayloadError } from "./payload_error.ts";

/** Bytes of a name: two as Xen has them (XEN_LIVEPATCH_NAME_SIZE, which counts a terminating zero), and a slash between. */
const MOST_NAME_BYTES = 255;

/** The machine code of a process is one: there is to be one of these a process. */
export class NativePayloads implements Disposable {
  readonly #stack: PayloadStack;
  #memory: CodeMemory | undefined;
  #serial = 0;

  /** @param vmap in whose payload arena they go */
  constructor(private readonly machine: MachineMemory, private readonly vmap: Vmap) {
    this.#stack = {
      loaded: new Map(),
      applied: [],
      write: (address, code) => this.#write(address, code),
      synchronize: () => this.#code().synchronize(),
    };
  }

  /** Those that are loaded, in that order. */
  get payloads(): readonly NativePayload[] {
    return [...this.#stack.loaded.values()];
  }

  /** The payload whose memory `address` is in. */
  payloadAt(address: bigint): NativePayload | undefined {
    // Areas of other arenas may have owners with the same numbers.
    const payload = this.#stack.loaded.get(this.vmap.areaOf(address)?.owner ?? 0);
    return payload?.image.find(address) === undefined ? undefined : payload;
  }

  /**
   * Loads an object: afterwards it is CHECKED, and its global symbols are there for later ones.
   * @param name of its own, one line of 1 to 255 bytes
   * @param again whether it may be applied again although it has data, which are then as they were left
   * @throws {PayloadError} EINVAL, EOPNOTSUPP, ENOENT, EOVERFLOW, ERANGE the object; EEXIST name or symbol; ENOMEM arena
   * @throws {LinuxError} @throws {MachineMemoryError} @throws {MappingLimitError} in every case, nothing has changed
   */
  load(object: Uint8Array, name: string, again = false): NativePayload {
    const bytes = new TextEncoder().encode(name).length;
    if (bytes === 0 || bytes > MOST_NAME_BYTES || /\p{Cc}/u.test(name)) {
      throw new PayloadError(EINVAL, `a payload's name is one line of 1 to ${MOST_NAME_BYTES} bytes`);
    }
    if (this.payloads.some((payload) => payload.name === name)) throw new PayloadError(EEXIST, `${name}: is loaded`);
    const elf = parseElfObject(object, name), layout = layOut(elf, this.vmap.arenaBytes.payload, name);
    const number = ++this.#serial;
    using stack = new DisposableStack();
    const image = stack.use(new NativeImage(this.machine, this.vmap, layout, number, name));
    const loading = new NativeLoading(name, elf, layout, image, this);
    loading.fill();
    const functions = loading.functions(), symbols = loading.globals(functions), { uses } = loading;
    const keepsState = loading.keepsState && !again;
    const payload = new NativePayload(name, number, { image, functions, symbols, uses, keepsState }, this.#stack);
    this.#stack.loaded.set(number, payload);
    stack.move();
    return payload;
  }

  /** Reverts and unloads all, the last one first. What holds for {@linkcode NativePayload.revert} holds here. */
  [Symbol.dispose](): void {
    const { loaded, applied } = this.#stack;
    while (applied.length > 0) applied.at(-1)!.revert();
    for (const payload of [...loaded.values()].reverse()) payload[Symbol.dispose]();
    this.#memory?.[Symbol.dispose]();
    this.#memory = undefined;
  }

  #code(): CodeMemory {
    return this.#memory ??= new CodeMemory();
  }

  /** A payload's own text is shared memory, which the kernel writes to for nobody: there it is the directmap. */
  #write(address: bigint, code: Uint8Array<ArrayBuffer>): void {
    const text = this.payloadAt(address)?.image.find(address)?.bytes;
    if (text === undefined) this.#code().write(address, code);
    else text.set(code);
  }
}
