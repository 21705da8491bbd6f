/** `doctor`: what this host offers, or what an image is and how it would be loaded. */

import { CAP } from "../kvm/abi.ts";
import { Kvm, KvmUnavailable } from "../kvm/kvm.ts";
import { Userfaultfd, UserfaultUnavailable } from "../linux/userfaultfd.ts";
import { describeImage, formatDescription, type ImageDescription } from "../boot/describe.ts";
import { MEMORY_TYPE } from "../boot/plan.ts";
import { STATUS } from "../domain/outcome.ts";
import { bootRequest } from "../machine/machine.ts";
import { DOCTOR_HELP, type DoctorArguments, parseDoctor } from "./arguments.ts";
import { sayFailure } from "./failure.ts";
import { drawPhysicalMap, type MapPart, PLATFORM_PARTS } from "./physical_map.ts";

/** Capabilities that Xenolith cannot do without, and what for. */
const REQUIRED = {
  USER_MEMORY: "guest memory",
  IRQCHIP: "interrupt controllers",
  PIT2: "the PIT",
  IRQ_ROUTING: "interrupt routing",
  IMMEDIATE_EXIT: "kicking vCPUs",
  SET_TSS_ADDR: "real mode on VMX",
} as const satisfies Partial<Record<keyof typeof CAP, string>>;

/** What a host offers. */
interface HostDescription {
  readonly deno: string;
  readonly kernel: string;
  readonly processors: number;
  readonly maxVcpus: number;
  readonly memorySlots: number;
  /** Why there is no fault transport (docs/retry.md), and what would give it; undefined: there is one. */
  readonly withoutFaults: string | undefined;
  /** Whether pages can be mapped read-only by fault. */
  readonly readOnlyFaults: boolean;
  /** Missing capabilities with what they are for; empty on a host that can run guests. */
  readonly missing: readonly string[];
}

/** @returns the exit status: 0, 64 for an image that cannot be booted, 69 for a host that cannot boot any */
export function doctor(args: string[]): number {
  try {
    const parsed = parseDoctor(args);
    if (parsed === undefined) {
      console.error(DOCTOR_HELP);
      return STATUS.OK;
    }
    return parsed.image === undefined ? examineHost(parsed.json) : examineImage(parsed.image, parsed);
  } catch (error) {
    return sayFailure(error);
  }
}

function examineImage(image: string, { machine, json }: DoctorArguments): number {
  const description = describeImage(bootRequest({ ...machine, image }, undefined, addressBits()));
  const lines = () => [...formatDescription(description), "", "physical map", ...drawDescription(description)];
  console.log(json ? JSON.stringify(description) : lines().join("\n"));
  return STATUS.OK;
}

/** Of a guest here, or undefined where there is no KVM to say it. */
function addressBits(): number | undefined {
  try {
    using kvm = Kvm.open();
    return kvm.supportedCpuid().addressBits;
  } catch (error) {
    if (error instanceof KvmUnavailable) return undefined;
    throw error;
  }
}

/** What the guest is told of its memory, and what lies in it at the start. */
function drawDescription({ memoryMap, segments }: ImageDescription): string[] {
  const parts = memoryMap.map(({ address, sizeBytes, type, name }): MapPart => {
    const range = { first: address, last: address + sizeBytes - 1 };
    if (type === MEMORY_TYPE.UNUSABLE) return { ...range, kind: "region", what: "extended region" };
    if (type === MEMORY_TYPE.RAM) return { ...range, kind: "RAM", what: name };
    return { ...range, kind: "reserved", what: name.toLowerCase() };
  });
  const loaded = segments.map(({ what, address, sizeBytes }): MapPart => {
    return { first: address, last: address + sizeBytes - 1, kind: "loaded", what };
  });
  return drawPhysicalMap([...PLATFORM_PARTS, ...parts, ...loaded], 2 ** 32);
}

function examineHost(json: boolean): number {
  const host = describeHost();
  console.log(json ? JSON.stringify(host) : formatHost(host).join("\n"));
  return host.missing.length === 0 ? STATUS.OK : STATUS.HOST;
}

function describeHost(): HostDescription {
  using kvm = Kvm.open();
  const missing = (Object.keys(REQUIRED) as (keyof typeof REQUIRED)[])
    .filter((name) => kvm.extension(CAP[name]) <= 0)
    .map((name) => `KVM_CAP_${name} (${REQUIRED[name]})`);
  return {
    deno: Deno.version.deno,
    kernel: Deno.osRelease(),
    processors: navigator.hardwareConcurrency,
    maxVcpus: kvm.extension(CAP.MAX_VCPUS),
    memorySlots: kvm.extension(CAP.NR_MEMSLOTS),
    ...describeFaults(),
    missing,
  };
}

function describeFaults(): Pick<HostDescription, "withoutFaults" | "readOnlyFaults"> {
  try {
    const { descriptor, protects } = Userfaultfd.open();
    descriptor[Symbol.dispose]();
    return { withoutFaults: undefined, readOnlyFaults: protects };
  } catch (error) {
    if (!(error instanceof UserfaultUnavailable)) throw error;
    return { withoutFaults: error.message, readOnlyFaults: false };
  }
}

function formatFaults({ withoutFaults, readOnlyFaults }: HostDescription): string {
  if (withoutFaults !== undefined) return `windows by exit only: ${withoutFaults}`;
  return `windows by fault and by exit${readOnlyFaults ? "" : "; by fault none can be read-only (Linux 6.4 can)"}`;
}

function formatHost(host: HostDescription): string[] {
  return [
    `deno          ${host.deno}`,
    `kernel        ${host.kernel}`,
    `processors    ${host.processors}`,
    `/dev/kvm      opens; ${host.maxVcpus} vCPUs and ${host.memorySlots} memory slots a VM`,
    `userfaultfd   ${formatFaults(host)}`,
    ...host.missing.map((name) => `missing       ${name}`),
    host.missing.length === 0 ? "guests run here" : "guests do not run here",
  ];
}
