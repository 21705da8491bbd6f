/** QEMU, where it is installed, with a machine that runs our guests. */

const QEMU = "qemu-system-x86_64";

/** Why there is no comparison with it. */
export const QEMU_MISSING = `no comparison with QEMU: ${QEMU} is not installed (Debian: qemu-system-x86)`;

/** Whether there is one. */
export async function isQemuInstalled(): Promise<boolean> {
  try {
    return (await new Deno.Command(QEMU, { args: ["--version"], stdout: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Starts it under KVM; the guest's console is its stdout. It ends when the guest writes to port 0xf4. @param options further ones */
export function startQemu(image: string, cmdline: string, options: readonly string[] = []): Deno.ChildProcess {
  const args = ["-enable-kvm", "-M", "pc", "-cpu", "qemu64", "-m", "64M", "-display", "none", "-nodefaults"];
  args.push("-no-reboot", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4");
  args.push("-kernel", image, "-append", cmdline, ...options);
  return new Deno.Command(QEMU, { args, stdin: "null", stdout: "piped", stderr: "null" }).spawn();
}
