/** What tests need beside Deno: a test without it is skipped, and its name says why. */

import { Userfaultfd, UserfaultUnavailable } from "../../src/linux/userfaultfd.ts";

/** Something that a machine may lack. */
export interface Capability {
  readonly present: boolean;
  /** Added to the name of a test that is skipped for the lack of it. */
  readonly reason: string;
}

/** A /dev/kvm that may be opened. */
export const KVM: Capability = { present: opens("/dev/kvm"), reason: "no /dev/kvm that may be opened" };

/** The same for tests that would say nothing new on another KVM: the lane runs them only when it is asked for all. */
export const ANY_KVM: Capability = { ...KVM };

/** A userfaultfd for faults of the kernel: windows of the fault transport. */
export const USERFAULT: Capability = whyNoUserfault();

/** Windows by fault in which pages can be mapped read-only. */
export const READ_ONLY_FAULTS: Capability = {
  present: USERFAULT.present && protectsFaults(),
  reason: "no UFFDIO_CONTINUE_MODE_WP (Linux 6.4)",
};

/** In the lane (src/lane) the tests run a second time, on another KVM. */
export const LANE = Deno.env.has("XENOLITH_LANE");

/** Capabilities of which a test has to name one to run in the lane. */
const RUNS_IN_LANE = Deno.env.get("XENOLITH_LANE") === "all" ? [KVM, ANY_KVM] : [KVM];

/** How often a test does the same again, for a number that suits a host of its own: a quarter of it in the lane. */
export function repetitions(number: number): number {
  return LANE ? Math.ceil(number / 4) : number;
}

/** A clock that goes as fast as the one on the wall. */
export const REAL_TIME: Capability = { present: !LANE, reason: "the lane's clock counts instructions" };

/** Processors on which two threads really run at once. */
export const SEVERAL_CPUS: Capability = {
  present: navigator.hardwareConcurrency > 1,
  reason: "only one processor, so nothing races",
};

/** So much free memory. */
export function memory(gibibytes: number): Capability {
  const kibibytes = Number(/^MemAvailable:\s*(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/meminfo"))?.[1] ?? 0);
  return { present: kibibytes >= gibibytes * 2 ** 20, reason: `less than ${gibibytes} GiB of memory are free` };
}

/** A program on the path. @param debianPackage where it comes from */
export function program(name: string, debianPackage: string): Capability {
  const present = (Deno.env.get("PATH") ?? "").split(":").some((directory) => exists(`${directory}/${name}`));
  return { present, reason: `${name} is not installed (Debian: ${debianPackage})` };
}

/** A shared library. @param debianPackage where it comes from */
export function library(name: string, debianPackage: string): Capability {
  return { present: loads(name), reason: `${name} is not installed (Debian: ${debianPackage})` };
}

/** A file, such as a header. */
export function file(path: string, debianPackage: string): Capability {
  return { present: exists(path), reason: `${path} is missing (Debian: ${debianPackage})` };
}

/**
 * Defines a test that needs `capabilities`; without one it is skipped, for the first one's reason.
 *
 * A test that opens /dev/kvm, or starts a command that does, names {@linkcode KVM}: on a host that has none it is
 * skipped, and in the lane it is one of those that run; or {@linkcode ANY_KVM}. There the others do not even count.
 */
export function testWith(
  capabilities: readonly Capability[],
  name: string,
  body: (context: Deno.TestContext) => void | Promise<void>,
): void {
  if (LANE && !capabilities.some((capability) => RUNS_IN_LANE.includes(capability))) return;
  const missing = capabilities.find(({ present }) => !present);
  Deno.test({
    name: missing === undefined ? name : `${name} (skipped: ${missing.reason})`,
    ignore: missing !== undefined,
    fn: body,
  });
}

function loads(name: string): boolean {
  try {
    Deno.dlopen(name, {}).close();
    return true;
  } catch {
    return false;
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function whyNoUserfault(): Capability {
  try {
    using _descriptor = Userfaultfd.open().descriptor;
    return { present: true, reason: "" };
  } catch (error) {
    if (!(error instanceof UserfaultUnavailable)) throw error;
    return { present: false, reason: error.message };
  }
}

function protectsFaults(): boolean {
  const { descriptor, protects } = Userfaultfd.open();
  descriptor[Symbol.dispose]();
  return protects;
}

function opens(path: string): boolean {
  try {
    Deno.openSync(path, { read: true, write: true }).close();
    return true;
  } catch {
    return false;
  }
}
