/** What happens while a native payload is loaded: its memory is filled, its symbols and functions are looked up. */

import { hex } from "../boot/bytes.ts";
import { EEXIST, EINVAL, ENOENT, EOPNOTSUPP } from "../linux/errno.ts";
import { nativeSymbols } from "../linux/native_symbols.ts";
import { R_X86_64, STB } from "./elf_abi.ts";
import type { ElfObject, ElfRelocation, ElfSection, ElfSymbol } from "./elf_object.ts";
import { LIVEPATCH_FUNCS, type ReplacedFunction, replacedFunctions } from "./native_functions.ts";
import type { NativeImage } from "./native_image.ts";
import { hasBytes, type NativeLayout, type Place } from "./native_layout.ts";
import type { NativePayload, PayloadSymbol } from "./native_payload.ts";
import { relocate, type Relocated } from "./native_relocations.ts";
import { PayloadError } from "./payload_error.ts";

/** Xen's sections of functions that are called at each step: payloads of machine code have none here. */
const HOOKS = ".livepatch.hooks.";

/** The payloads that are loaded already. */
export interface EarlierPayloads {
  readonly payloads: readonly NativePayload[];
  payloadAt(address: bigint): NativePayload | undefined;
}

/** Looks up in the hypervisor's own symbols first, then in those of earlier payloads. */
export class NativeLoading implements Relocated {
  /** The payloads that were found to be needed. */
  readonly uses = new Set<NativePayload>();

  constructor(
    readonly name: string,
    private readonly object: ElfObject,
    private readonly layout: NativeLayout,
    private readonly image: NativeImage,
    private readonly earlier: EarlierPayloads,
  ) {}

  /** Whether there is data that the payload's code can change. */
  get keepsState(): boolean {
    return this.#loaded().some(([{ name, sizeBytes }, { kind }]) =>
      kind === "data" && sizeBytes > 0 && name !== LIVEPATCH_FUNCS
    );
  }

  /** Copies the sections to their places and relocates them. @throws {PayloadError} see relocate() */
  fill(): void {
    for (const [section, place] of this.#loaded()) {
      if (section.name.startsWith(HOOKS)) throw this.#refuse(EOPNOTSUPP, `${section.name}: hooks are not called`);
      if (hasBytes(section)) this.image.bytes(place, section.sizeBytes).set(section.bytes);
    }
    for (const relocation of this.object.relocations) {
      const { section } = relocation, place = this.layout.places.get(section)!;
      relocate(relocation, this.image.address(place), this.image.bytes(place, section.sizeBytes), this);
    }
  }

  /** What .livepatch.funcs says. @throws {PayloadError} see replacedFunctions() */
  functions(): ReplacedFunction[] {
    const sections = this.#loaded().filter(([{ name }]) => name === LIVEPATCH_FUNCS);
    if (sections.length > 1) throw this.#refuse(EINVAL, `${sections.length} sections ${LIVEPATCH_FUNCS}`);
    return sections.flatMap(([section, place]) => {
      const functions = replacedFunctions(this.image.bytes(place, section.sizeBytes), {
        payload: this.name,
        string: (address) => this.#string(address),
        find: (name) => this.#find(name)?.address,
        roomAt: (address) => this.#roomAt(address),
        isOwnText: (address) => this.image.find(address)?.kind === "text",
      });
      for (const { oldAddress } of functions) this.#use(this.earlier.payloadAt(oldAddress));
      return functions;
    });
  }

  /**
   * The global symbols that the payload defines. One that there is already must be a function's replacement: its name
   * goes on meaning the function that is replaced, as in Xen.
   * @throws {PayloadError} EEXIST
   */
  globals(functions: readonly ReplacedFunction[]): Map<string, PayloadSymbol> {
    const globals = new Map<string, PayloadSymbol>();
    for (const symbol of this.object.symbols) {
      if (symbol.binding === STB.LOCAL || symbol.place === "undefined" || symbol.index === 0) continue;
      const address = this.#definition(symbol), { name, sizeBytes } = symbol;
      if (address === undefined) continue;
      const isReplacement = functions.some(({ newAddress }) => newAddress === address);
      if (symbol.binding === STB.GLOBAL && !isReplacement && this.#find(name) !== undefined) {
        throw this.#refuse(EEXIST, `symbol ${name} exists already`);
      }
      globals.set(name, { address, sizeBytes });
    }
    return globals;
  }

  /** See {@linkcode Relocated}. @throws {PayloadError} ENOENT, or EINVAL it is in a section that is not loaded */
  symbol({ type, symbol, section, offset }: ElfRelocation): bigint {
    const where = `${section.name}+${hex(offset)}`;
    if (symbol.place !== "undefined") {
      const address = this.#definition(symbol);
      if (address !== undefined) return address;
      throw this.#refuse(EINVAL, `${where}: symbol ${symbol.name} is in a section that is not loaded`);
    }
    const found = this.#find(symbol.name);
    if (found === undefined && symbol.binding !== STB.WEAK) {
      throw this.#refuse(ENOENT, `${where}: symbol ${symbol.name} is not defined`);
    }
    this.#use(found?.payload);
    if (found !== undefined) return found.address;
    return type === R_X86_64.PLT32 ? this.image.address(this.layout.trap!) : 0n;
  }

  get gotAddress(): bigint {
    return this.image.address(this.layout.gotBase!);
  }

  gotEntry(relocation: ElfRelocation): bigint {
    const entry = this.layout.got.get(relocation.symbol)!, bytes = this.image.bytes(entry, 8);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, this.symbol(relocation), true);
    return this.image.address(entry);
  }

  #loaded(): [ElfSection, Place][] {
    return [...this.layout.places];
  }

  #refuse(errno: number, problem: string): PayloadError {
    return new PayloadError(errno, `${this.name}: ${problem}`);
  }

  #use(payload: NativePayload | undefined): void {
    if (payload !== undefined) this.uses.add(payload);
  }

  /** Where the payload itself has a symbol; undefined if its section is not loaded. */
  #definition({ place, value }: ElfSymbol): bigint | undefined {
    if (typeof place === "string") return value;
    const loaded = this.layout.places.get(place);
    return loaded === undefined ? undefined : this.image.address(loaded) + value;
  }

  #find(name: string): { readonly address: bigint; readonly payload?: NativePayload } | undefined {
    const own = nativeSymbols().get(name);
    if (own !== undefined) return own;
    for (const payload of this.earlier.payloads) {
      const symbol = payload.symbols.get(name);
      if (symbol !== undefined) return { address: symbol.address, payload };
    }
    return undefined;
  }

  #string(address: bigint): string | undefined {
    const bytes = this.image.find(address)?.bytes, end = bytes?.indexOf(0) ?? -1;
    if (bytes === undefined || end < 0) return undefined;
    const string = new TextDecoder().decode(bytes.subarray(0, end));
    return /\p{Cc}/u.test(string) ? undefined : string;
  }

  /** Of our own code all that the next symbol leaves; of a payload's what the object says that the function has. */
  #roomAt(address: bigint): number {
    const payload = this.earlier.payloadAt(address);
    if (payload !== undefined && payload.image.find(address)?.kind !== "text") return 0;
    const functions = payload === undefined
      ? Array.from(nativeSymbols().values(), ({ address, roomBytes }) => ({ address, sizeBytes: roomBytes }))
      : [...payload.symbols.values()];
    for (const { address: first, sizeBytes } of functions) {
      const room = Number(first - address) + sizeBytes;
      if (address >= first && room > 0) return room;
    }
    return 0;
  }
}
