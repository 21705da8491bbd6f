/** The command line of `run`, `doctor` and `dm`. */

import { KERNELS, type KernelVersion } from "../lane/kernel.ts";
import { parseArgs } from "@std/cli";
import { parseConsole } from "../machine/consoles.ts";
import {
  type CarrierKind,
  type MachineOptions,
  type ModelOptions,
  type ModuleOptions,
  parseExtendedRegions,
  parseGrant,
  UsageError,
} from "../machine/options.ts";
import { DeviceWords } from "../machine/device_words.ts";
import { parseDisk } from "../machine/disks.ts";
import { parseNet } from "../machine/nets.ts";
import { parseVhostUser } from "../machine/vhost_user.ts";
import type { VirtioDeviceOptions } from "../machine/virtio.ts";

/** What `run` was asked for. */
export interface RunArguments {
  readonly images: readonly string[];
  /** All but the image. */
  readonly machine: Omit<MachineOptions, "image">;
  readonly timeoutMs: number | undefined;
  readonly reboot: boolean;
  readonly stats: boolean;
  /** A path, or "-" for the last line of stderr. */
  readonly json: string | undefined;
  /** Path of the trace of requests. */
  readonly trace: string | undefined;
  /** Path of the control socket. */
  readonly control: string | undefined;
  /** Path of the control socket of a run that goes on: nothing is booted, its guest is asked to power off. */
  readonly stop: string | undefined;
  /** Files of public keys: only payloads that one of these has signed are taken; none: any. */
  readonly payloadKeys: readonly string[];
  /** Whether it all happens in a machine that has KVM (src/lane), and on which kernel. */
  readonly lane: boolean;
  readonly laneKernel: KernelVersion | undefined;
}

/** The options of `run`, and what `--help` says of them. */
export const RUN_HELP = `usage: run [options] IMAGE...
       run --stop SOCKET

Boots each IMAGE in turn; its console is stdin and stdout. Ctrl-] leaves an interactive run.

  --memory SIZE      RAM, such as 64M or 2G (64M)
  --vcpus N          virtual processors (1)
  --cmdline STRING   the guest's command line
  --initrd FILE      initial RAM disk
  --module FILE      a boot module; "FILE ARGUMENTS" gives it a command line; may be repeated
  --timeout SECONDS  end the run after so long, with status 124
  --carrier KIND     what runs the vCPUs: auto, worker, native (auto)
  --device-model PATH[,memory=WHAT]
                     a device model: a module, or a Unix socket where one connects (docs/device-model-protocol.md);
                     WHAT it sees of the guest's memory: all, none (none), FIRST-LAST[+FIRST-LAST...]; may be repeated
  --disk FILE[,ro][,queues=N][,WORD...]
                     a virtio disk; may be repeated, as all virtio devices may (docs/virtio.md). They all take the WORDs
                     legacy, irq=level, and memory=WHAT as above (all)
  --vhost-user-blk SOCKET[,WORD...]
                     a virtio disk that a vhost-user backend serves, which is never legacy
  --rng[=WORD,...]   a virtio source of entropy
  --net KIND[,KEY=VALUE...][,WORD...]
                     a virtio network device: socket,path=PATH, tap,ifname=NAME, or
                     user[,hostfwd=tcp:PORT:GUESTPORT...][,restrict=on]; all kinds take mac=ADDRESS
  --virtio-console PORT[,PORT...][,WORD...]
                     a virtio console; a PORT is stdio, so that the UART gets no input, or NAME=SOCKET, a Unix socket
                     for one at a time
  --virtio-in WHERE  where the device models of virtio devices run: process, each in one of its own, or worker (process)
  --device-model-timeout SECONDS
                     how long a device model may take to start, and for an answer
  --hold             requests of a device model that is gone wait for its successor
  --xen WHETHER      whether the guest finds Xen by CPUID, or KVM: auto, on, off (auto: on, but for a Linux bzImage)
  --extended-regions WHICH
                     address space kept free for what the guest maps: on, off, or any of limit=SIZE, smallest=SIZE,
                     largest=SIZE, place=low|high, avoid=FIRST-LAST[+...] (on; docs/extended-regions.md)
  --device-tree      give the guest a device tree
  --populate-on-demand
                     RAM gets its memory page by page, with the guest's first access
  --reboot           boot again when the guest asks for a reset
  --stats            say on stderr what was counted
  --json FILE        write a report; - is the last line of stderr
  --trace FILE       write the last requests of each vCPU as Chrome trace events (for Perfetto)
  --control SOCKET   take commands at a Unix socket (docs/control-protocol.md)
  --payload-key FILE take only payloads that this public key has signed (docs/live-patching.md); may be repeated
  --stop SOCKET      boot nothing: ask the guest of the run with that control socket to power off (by xenstore)
  --lane             do all this in an emulated machine that has KVM, where this one has none (docs/hosts.md)
  --lane-kernel VERSION
                     with Debian's kernel 6.1 or 6.12 there, instead of the host's own release

Exit status: 0 powered off; 1-63 the guest's own; 64 bad usage or image; 66 reset; 67 left; 69 the host cannot;
70 our fault; 124 time-out; 125 guest crashed; 129, 130, 141, 143 SIGHUP, SIGINT, closed stdout, SIGTERM.`;

/** Options that decide what a guest finds in its memory, and where. */
const PLANNED_STRINGS = [
  "memory",
  "vcpus",
  "cmdline",
  "initrd",
  "module",
  "xen",
  "extended-regions",
  "disk",
  "net",
  "vhost-user-blk",
  "virtio-console",
  "rng",
] as const;
const PLANNED_BOOLEANS = ["device-tree"] as const;

/** Of the options with values: those that may also stand alone. */
const ALONE: readonly string[] = ["rng"];

const STRINGS = [
  ...PLANNED_STRINGS,
  "timeout",
  "carrier",
  "json",
  "trace",
  "lane-kernel",
  "control",
  "stop",
  "device-model",
  "device-model-timeout",
  "virtio-in",
  "payload-key",
] as const;
const BOOLEANS = [...PLANNED_BOOLEANS, "reboot", "stats", "lane", "hold", "populate-on-demand", "help"] as const;

/** Parses the arguments after "run". @returns undefined for --help. @throws {UsageError} */
export function parseRun(args: string[]): RunArguments | undefined {
  const { options, positional } = parse(args, STRINGS, BOOLEANS);
  if (options.help) return undefined;
  if (given(options, "stop")) {
    single(options, "stop");
    if (joined(args, STRINGS, BOOLEANS).length > 1) {
      throw new UsageError("--stop goes with no image and no other option");
    }
  } else if (positional.length === 0) throw new UsageError("no image given; --help says how");
  return {
    images: positional,
    machine: {
      ...plannedOptions(options),
      carrier: carrier(given(options, "carrier") ? single(options, "carrier") : "auto"),
      deviceModels: options["device-model"].map(deviceModelArgument),
      ...(given(options, "device-model-timeout") && {
        deviceModelTimeoutMs: seconds(options, "device-model-timeout") * 1000,
      }),
      hold: options.hold,
      ...(given(options, "virtio-in") && { virtioIn: virtioIn(single(options, "virtio-in")) }),
      populateOnDemand: options["populate-on-demand"],
    },
    timeoutMs: given(options, "timeout") ? seconds(options, "timeout") * 1000 : undefined,
    reboot: options.reboot,
    stats: options.stats,
    json: given(options, "json") ? single(options, "json") : undefined,
    trace: given(options, "trace") ? single(options, "trace") : undefined,
    control: given(options, "control") ? single(options, "control") : undefined,
    stop: given(options, "stop") ? single(options, "stop") : undefined,
    payloadKeys: options["payload-key"],
    lane: options.lane,
    laneKernel: given(options, "lane-kernel") ? laneKernel(single(options, "lane-kernel")) : undefined,
  };
}

/** The arguments after "run" for the same run inside the lane. @param files where what is written to files goes there */
export function laneArguments(args: readonly string[], files: { json: string; trace: string }): string[] {
  const words = joined(args, STRINGS, BOOLEANS);
  const end = words.includes("--") ? words.indexOf("--") : words.length;
  return words.flatMap((word, index) => {
    if (index >= end) return [word];
    if (word === "--lane" || word.startsWith("--lane-kernel=")) return [];
    if (word.startsWith("--trace=")) return [`--trace=${files.trace}`];
    return [word.startsWith("--json=") && word !== "--json=-" ? `--json=${files.json}` : word];
  });
}

/** @throws {UsageError} */
function whether(word: string): "auto" | "on" | "off" {
  if (word === "auto" || word === "on" || word === "off") return word;
  throw new UsageError(`--xen ${word}: not one of auto, on, off`);
}

/** @throws {UsageError} */
function virtioIn(word: string): "process" | "worker" {
  if (word === "process" || word === "worker") return word;
  throw new UsageError(`--virtio-in ${word}: not process or worker`);
}

/** @throws {UsageError} */
function laneKernel(version: string): KernelVersion {
  if (Object.hasOwn(KERNELS, version)) return version as KernelVersion;
  throw new UsageError(`--lane-kernel ${version}: not one of ${Object.keys(KERNELS).join(", ")}`);
}

/** What `doctor` was asked for. */
export interface DoctorArguments {
  readonly image: string | undefined;
  readonly machine: Omit<MachineOptions, "image">;
  readonly json: boolean;
}

/** What `doctor --help` says. */
export const DOCTOR_HELP = `usage: doctor [options] [IMAGE]

Without IMAGE: what this host offers. With one: what it is and how it would be loaded.

  --memory SIZE, --vcpus N, --cmdline STRING, --initrd FILE, --module FILE, --xen WHETHER, --extended-regions WHICH,
  --device-tree, --disk FILE, --vhost-user-blk SOCKET, --rng, --net KIND, --virtio-console PORTS      as for run
  --json             one JSON object on stdout`;

/** Parses the arguments after "doctor". @returns undefined for --help. @throws {UsageError} */
export function parseDoctor(args: string[]): DoctorArguments | undefined {
  const { options, positional } = parse(args, PLANNED_STRINGS, [...PLANNED_BOOLEANS, "json", "help"] as const);
  if (options.help) return undefined;
  if (positional.length > 1) throw new UsageError(`doctor takes one image, not ${positional.length}`);
  return {
    image: positional[0],
    machine: plannedOptions(options),
    json: options.json,
  };
}

function plannedOptions(options: Options<typeof PLANNED_STRINGS[number], typeof PLANNED_BOOLEANS[number]>) {
  return {
    ...(given(options, "memory") && { memory: single(options, "memory") }),
    ...(given(options, "vcpus") && { vcpus: integer(options, "vcpus") }),
    ...(given(options, "cmdline") && { cmdline: single(options, "cmdline") }),
    ...(given(options, "initrd") && { initrd: single(options, "initrd") }),
    modules: options.module.map(moduleArgument),
    ...(given(options, "xen") && { xen: whether(single(options, "xen")) }),
    ...(given(options, "extended-regions") && {
      extendedRegions: parseExtendedRegions(single(options, "extended-regions")),
    }),
    deviceTree: options["device-tree"],
    disks: options.disk.map(parseDisk),
    vhostUserBlks: options["vhost-user-blk"].map(parseVhostUser),
    rngs: options.rng.map(parseRng),
    nets: options.net.map(parseNet),
    consoles: options["virtio-console"].map(parseConsole),
  };
}

/** What `dm` was asked for. */
export interface DmArguments {
  /** Path or URL of the device model's module. */
  readonly module: string;
  readonly socket: string;
  /** The second argument of the module's default function. */
  readonly configuration: unknown;
  /** How long the socket may take to be there; undefined: for ever. */
  readonly timeoutMs: number | undefined;
}

/** What `dm --help` says. */
export const DM_HELP = `usage: dm MODULE --socket PATH [options]

Runs a device model in this process, for the guest of \`run --device-model PATH\`. Either may be started first.

  --socket PATH         the Unix socket of the hypervisor
  --configuration JSON  handed to the module's default function
  --timeout SECONDS     how long the socket may take to be there (for ever)

Exit status: 0 the domain has ended; 64 bad usage; 69 no hypervisor, or it is gone; 70 the device model failed.`;

/** Parses the arguments after "dm". @returns undefined for --help. @throws {UsageError} */
export function parseDm(args: string[]): DmArguments | undefined {
  const { options, positional } = parse(args, ["socket", "configuration", "timeout"] as const, ["help"] as const);
  if (options.help) return undefined;
  if (positional.length !== 1) throw new UsageError(`dm takes one module, not ${positional.length}; --help says how`);
  if (!given(options, "socket")) throw new UsageError("--socket is missing; --help says how");
  return {
    module: positional[0],
    socket: single(options, "socket"),
    configuration: given(options, "configuration") ? json(single(options, "configuration")) : undefined,
    timeoutMs: given(options, "timeout") ? seconds(options, "timeout") * 1000 : undefined,
  };
}

/** Options by name: every value of a string option, and whether a switch was given. */
type Options<S extends string, B extends string> = Record<S, string[]> & Record<B, boolean>;

/** Parses a command's arguments. Every string option is collected, so that one given twice can be refused where it makes no sense. */
export function parse<S extends string, B extends string>(
  args: string[],
  strings: readonly S[],
  booleans: readonly B[],
) {
  const parsed = parseArgs(joined(args, strings, booleans), {
    string: [...strings, "_"],
    boolean: booleans,
    collect: strings,
    unknown: (argument: string, key?: string) => {
      if (key !== undefined) throw new UsageError(`unknown option ${argument}; --help lists them`);
    },
  });
  return { options: parsed as unknown as Options<S, B>, positional: parsed._.map(String) };
}

/** A value option takes the next argument, whatever it looks like, as getopt_long(3) does: `--json -`. */
function joined(args: readonly string[], strings: readonly string[], booleans: readonly string[]): string[] {
  const result: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const argument = args[index];
    if (argument === "--") return [...result, ...args.slice(index)];
    if (booleans.some((name) => argument.startsWith(`--${name}=`))) throw new UsageError(`${argument}: takes no value`);
    if (ALONE.some((name) => argument === `--${name}`)) {
      result.push(`${argument}=`);
      continue;
    }
    const takesNext = strings.some((name) => argument === `--${name}`);
    if (takesNext && index + 1 === args.length) throw new UsageError(`${argument} needs a value`);
    result.push(takesNext ? `${argument}=${args[++index]}` : argument);
  }
  return result;
}

/** Whether the option was given at all. */
export function given<S extends string>(options: Record<S, string[]>, name: S): boolean {
  return options[name].length > 0;
}

/** The value of an option that may be given once. @throws {UsageError} */
export function single<S extends string>(options: Record<S, string[]>, name: S): string {
  const values = options[name];
  if (values.length > 1) throw new UsageError(`--${name} given ${values.length} times`);
  if (values[0] === "" && name !== "cmdline") throw new UsageError(`--${name} needs a value`);
  return values[0];
}

function integer<S extends string>(options: Record<S, string[]>, name: S): number {
  const text = single(options, name);
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${name} ${text}: not a whole number from 1 on`);
  return Number(text);
}

function seconds<S extends string>(options: Record<S, string[]>, name: S): number {
  const text = single(options, name), value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0 && value <= 2_000_000) return value;
  throw new UsageError(`${name} ${text}: not a number of seconds above 0 and up to 2000000`);
}

function carrier(name: string): CarrierKind {
  if (name === "auto" || name === "worker" || name === "native") return name;
  throw new UsageError(`carrier ${name}: not one of auto, worker, native`);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`configuration: ${(error as Error).message}`);
  }
}

/** PATH[,memory=WHAT]: a module if that is a file, else a socket. */
function deviceModelArgument(text: string): ModelOptions {
  const [, path, grant] = /^(.*?)(?:,memory=(.*))?$/s.exec(text)!;
  if (path === "") throw new UsageError("--device-model needs a value");
  const memory = grant === undefined ? {} : { memory: parseGrant(grant) };
  return isFile(path) ? { module: path, ...memory } : { socket: path, ...memory };
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false; // nothing, or nothing that may be looked at: listening there will say so
  }
}

/** What all virtio devices take, or nothing. */
function parseRng(text: string): VirtioDeviceOptions {
  return new DeviceWords("rng", text === "" ? [] : text.split(","), []).common;
}

/** GRUB's way to write a module: the file, a space, its command line. */
function moduleArgument(text: string): ModuleOptions {
  if (text === "") throw new UsageError("--module needs a value");
  const space = text.indexOf(" ");
  return space < 0 ? { file: text } : { file: text.slice(0, space), cmdline: text.slice(space + 1) };
}
