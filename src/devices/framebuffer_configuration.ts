/** What can be chosen about a framebuffer window, and what of that makes sense. */

import { FRAMEBUFFER_PORTS, PAGE_BYTES } from "./framebuffer_registers.ts";

/** The configuration object; what is left out has its default. */
export interface FramebufferConfiguration {
  /** Guest-physical address of the window: a multiple of 4096; default 0xfd000000. */
  readonly address?: number;
  /** Bytes of the window and of each surface: a multiple of 4096; default 512 KiB. */
  readonly sizeBytes?: number;
  /** Pictures that the device holds, 1 to 64; default 8. */
  readonly surfaces?: number;
  /** The first I/O port of the registers: a multiple of 4; default 0x510. */
  readonly port?: number;
  /** Pages of VRAM, 16 or more; default 64. */
  readonly vramPages?: number;
  /** Pages that a violation maps beyond the one asked for; default 3. */
  readonly ahead?: number;
  /** Pages that change places each time the guest writes the register for it; default 2. */
  readonly migrations?: number;
  /** How violations come; default: by fault, where the host has that. */
  readonly transport?: "fault" | "exit";
}

const DEFAULTS = {
  address: 0xfd00_0000,
  sizeBytes: 512 * 1024,
  surfaces: 8,
  port: 0x510,
  vramPages: 64,
  ahead: 3,
  migrations: 2,
} as const;

type Numbers = Record<keyof typeof DEFAULTS, number>;

/** All of it, checked. */
export type FramebufferSettings = Numbers & Pick<FramebufferConfiguration, "transport">;

/** Smallest, largest, and what it is a multiple of. Fewer pages of VRAM than that, and vCPUs take them from each other. */
const LIMITS: Record<keyof typeof DEFAULTS, readonly [least: number, most: number, step: number]> = {
  address: [0, 2 ** 46, PAGE_BYTES],
  sizeBytes: [PAGE_BYTES, 64 * 2 ** 20, PAGE_BYTES],
  surfaces: [1, 64, 1],
  port: [0, 0x1_0000 - FRAMEBUFFER_PORTS, 4],
  vramPages: [16, 65536, 1],
  ahead: [0, 511, 1],
  migrations: [0, 1024, 1],
};

const TRANSPORTS: readonly unknown[] = ["fault", "exit", undefined];

/** Checks a configuration. @throws {TypeError} it is no such object @throws {RangeError} a value is out of its range */
export function framebufferSettings(configuration: unknown): FramebufferSettings {
  const given = configuration ?? {};
  if (typeof given !== "object" || Array.isArray(given)) {
    throw new TypeError(`framebuffer window: its configuration is no object: ${JSON.stringify(configuration)}`);
  }
  const { transport, ...values } = given as Record<string, unknown>, numbers: Numbers = { ...DEFAULTS };
  for (const [name, value] of Object.entries(values)) {
    if (!isNumberName(name)) {
      const known = [...Object.keys(DEFAULTS), "transport"].join(", ");
      throw new TypeError(`framebuffer window: ${name} is not one of ${known}`);
    }
    if (value !== undefined) numbers[name] = checked(name, value);
  }
  if (!TRANSPORTS.includes(transport)) {
    throw new RangeError(`framebuffer window: transport ${JSON.stringify(transport)} is neither "fault" nor "exit"`);
  }
  return { ...numbers, ...(transport === undefined ? {} : { transport: transport as "fault" | "exit" }) };
}

function isNumberName(name: string): name is keyof typeof DEFAULTS {
  return Object.hasOwn(DEFAULTS, name);
}

function checked(name: keyof typeof DEFAULTS, value: unknown): number {
  const [least, most, step] = LIMITS[name];
  if (typeof value === "number" && value >= least && value <= most && value % step === 0) return value;
  const kind = step === 1 ? "a whole number" : `a multiple of ${step}`;
  throw new RangeError(`framebuffer window: ${name} ${JSON.stringify(value)} is not ${kind} from ${least} to ${most}`);
}
