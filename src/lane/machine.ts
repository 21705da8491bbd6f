/** The lane's virtual machine: QEMU's command line, its ports, and how it ended. */

import { LaneDied, LanePanic, LaneTimeout } from "./errors.ts";
import { PORTS, RESULT_END } from "./init.ts";
import { find } from "./programs.ts";

/** How the machine's time goes. Both count instructions (2 ns each), so a busy host changes nothing that a guest sees. */
export type Clock =
  /** Idle time is skipped: for jobs that nobody outside talks to. */
  | "skip idle"
  /**
   * Idle time lasts as long as it does outside: for people, and whatever else answers in real time. Once in a dozen boots
   * of Linux on a busy host QEMU 7.2 stood still with it: its processor's thread turns without executing anything, as if
   * a timer that has not expired left no room for an instruction. The other one never did.
   */
  | "wait idle";

/** What a machine is made of. */
export interface MachineConfiguration {
  readonly kernelImage: string;
  readonly initramfs: string;
  readonly memoryMiB: number;
  readonly clock: Clock;
  /** Whether stdin is a terminal in the machine. */
  readonly terminal: boolean;
  /** The machine is killed after so long; 0: never. */
  readonly timeoutMs: number;
}

/**
 * The processor: all that TCG can emulate, less what it is slow at. Linux copies with REP MOVSB where ERMS or FSRM is
 * set, and TCG takes that byte by byte. V8 guards the code that it writes by protection keys, and TCG drops its whole TLB
 * at each WRPKRU: without them a process that boots eight guests takes 17 s of the host's time, not 23.
 */
const PROCESSOR = "max,-erms,-fsrm,-pku";

const KERNEL_OPTIONS = [
  "console=ttyS0",
  "quiet",
  "panic=-1", // and QEMU's -no-reboot: a panic ends the machine
  "oops=panic",
  "random.trust_cpu=on",
  "mitigations=off",
  // What the kernel does at boot that nobody needs here; each is a tenth of an emulated second or more.
  "cryptomgr.notests",
  "nokaslr",
  "lsm=",
  "audit=0",
  "tsc=reliable", // no second calibration
  "no_timer_check",
  "rcupdate.rcu_expedited=1",
  "clearcpuid=112", // REP_GOOD: as PROCESSOR
];

/** The kernel's log, in the machine's directory. */
const LOG = "log";

const MAX_LOG_LINE = 300;

/** Bytes that a Unix socket's path may have (unix(7)), less the longest name that we add. */
const MAX_SOCKET_DIRECTORY = 107 - 10;

type Stream = Deno.UnixConn;

/** A machine that runs. Disposing it kills it, if need be, and removes its files. */
export class LaneMachine implements AsyncDisposable {
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #result: Promise<Uint8Array>;
  #timedOut = false;

  private constructor(
    private readonly configuration: MachineConfiguration,
    private readonly process: Deno.ChildProcess,
    private readonly complaints: Promise<string>,
    private readonly ports: Record<keyof typeof PORTS, Stream>,
    private readonly directory: string,
  ) {
    this.#result = takeResult(ports.result);
    if (configuration.timeoutMs > 0) {
      this.#timer = setTimeout(() => {
        this.#timedOut = true;
        this.kill();
      }, configuration.timeoutMs);
    }
  }

  /** Starts a machine. It waits for its job. @throws {LaneUnavailable} @throws {LaneDied} QEMU does not start */
  static async start(configuration: MachineConfiguration): Promise<LaneMachine> {
    const qemu = find("qemu-system-x86_64");
    await using stack = new AsyncDisposableStack();
    const directory = stack.adopt(temporaryDirectory(), (path) => Deno.removeSync(path, { recursive: true }));
    const names = Object.keys(PORTS) as (keyof typeof PORTS)[];
    const listeners = names.map((name) => stack.use(Deno.listen({ transport: "unix", path: `${directory}/${name}` })));
    const process = new Deno.Command(qemu, {
      args: qemuArguments(configuration),
      cwd: directory,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    stack.adopt(process, kill);
    const complaints = everything(process.stderr).then((bytes) => new TextDecoder().decode(bytes).trim());
    const died = process.status.then(async (status) => {
      throw new LaneDied(endingOf(status), lastLine(await complaints));
    });
    // QEMU connects to all of them before it does anything else.
    const streams = await Promise.race([Promise.all(listeners.map((listener) => listener.accept())), died]);
    for (const listener of listeners) listener.close();
    stack.move(); // from here on it is all the machine's
    const ports = Object.fromEntries(names.map((name, index) => [name, streams[index]]));
    return new LaneMachine(configuration, process, complaints, ports as Record<keyof typeof PORTS, Stream>, directory);
  }

  /** QEMU's process. */
  get pid(): number {
    return this.process.pid;
  }

  /** Writes to the command's stdin; resolves when there is room for more. */
  async write(bytes: Uint8Array): Promise<void> {
    await send(this.ports.stdin, bytes);
  }

  /** Ends the command's stdin. Closing the socket's other direction, too, would have QEMU drop what it has not read. */
  async endInput(): Promise<void> {
    await this.ports.stdin.closeWrite().catch(ignoreGone);
  }

  /** What the command prints. */
  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.ports.stdout.readable;
  }

  /** What the command prints on stderr. */
  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.ports.stderr.readable;
  }

  /** Hands over the job's archive. Resolves when it is on its way, or the machine is gone. */
  async writeJob(bytes: Uint8Array): Promise<void> {
    await send(this.ports.job, bytes);
  }

  /** Sends a signal to the command, by its name without "SIG". */
  async signal(name: string): Promise<void> {
    await send(this.ports.signals, new TextEncoder().encode(`${name}\n`));
  }

  /** Ends the machine at once. */
  kill(): void {
    kill(this.process);
  }

  /**
   * Waits for the machine's end.
   * @returns what init wrote to the port "result"
   * @throws {LaneTimeout} @throws {LanePanic} @throws {LaneDied}
   */
  async result(): Promise<Uint8Array> {
    const status = await this.process.status;
    clearTimeout(this.#timer);
    if (this.#timedOut) throw new LaneTimeout(this.configuration.timeoutMs);
    const result = await this.#result;
    if (status.success && result.length > 0) return result;
    const log = Deno.readTextFileSync(`${this.directory}/${LOG}`).trim();
    const panic = /Kernel panic - not syncing: .*/.exec(log)?.[0].trim();
    if (panic !== undefined) throw new LanePanic(panic);
    throw new LaneDied(endingOf(status), lastLine(await this.complaints || log));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.kill();
    await this.process.status;
    for (const stream of Object.values(this.ports)) close(stream);
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** QEMU is told the sockets' names only, but we have to give their whole paths. */
function temporaryDirectory(): string {
  const prefix = "xenolith-lane-";
  const directory = Deno.makeTempDirSync({ prefix });
  if (directory.length <= MAX_SOCKET_DIRECTORY) return directory;
  Deno.removeSync(directory);
  return Deno.makeTempDirSync({ dir: "/tmp", prefix });
}

async function send(stream: Stream, bytes: Uint8Array): Promise<void> {
  try {
    for (let written = 0; written < bytes.length;) written += await stream.write(bytes.subarray(written));
  } catch (error) {
    ignoreGone(error);
  }
}

/** The machine may be gone at any time; result() says how. */
function ignoreGone(error: unknown): void {
  const { BrokenPipe, BadResource, ConnectionReset, NotConnected } = Deno.errors;
  if (![BrokenPipe, BadResource, ConnectionReset, NotConnected].some((kind) => error instanceof kind)) throw error;
}

/** What comes from the port "result", whose end is answered. */
async function takeResult(port: Stream): Promise<Uint8Array> {
  const end = new TextEncoder().encode(RESULT_END);
  const tail = new Uint8Array(end.length);
  return await everything(port.readable, async (chunk) => {
    const last = chunk.subarray(-tail.length);
    tail.copyWithin(0, last.length);
    tail.set(last, tail.length - last.length);
    if (tail.every((byte, index) => byte === end[index])) await send(port, Uint8Array.of(0x0a));
  });
}

/** All bytes up to the stream's end, which is also that of a machine that was killed. */
async function everything(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  came?: (chunk: Uint8Array<ArrayBuffer>) => Promise<void>,
): Promise<Uint8Array> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  try {
    for await (const chunk of stream) {
      chunks.push(chunk);
      await came?.(chunk);
    }
  } catch (error) {
    ignoreGone(error);
  }
  return await new Blob(chunks).bytes();
}

function kill(process: Deno.ChildProcess): void {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function close(stream: Stream): void {
  try {
    stream.close();
  } catch {
    // Its readable or writable side was used up to the end, which closes it.
  }
}

function endingOf({ code, signal }: Deno.CommandStatus): string {
  return signal === null ? `status ${code}` : `signal ${signal}`;
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)!.trim().slice(0, MAX_LOG_LINE);
}

/** QEMU's arguments. It runs in the directory where the ports' sockets are. */
export function qemuArguments(configuration: MachineConfiguration): string[] {
  const { kernelImage, initramfs, memoryMiB, clock, terminal } = configuration;
  const ports = (Object.keys(PORTS) as (keyof typeof PORTS)[]).flatMap((name) => {
    const device = terminal && name === "stdin" ? "virtconsole" : "virtserialport";
    const number = terminal && name === "stdin" ? 0 : PORTS[name];
    return [
      "-chardev",
      `socket,id=${name},path=${name}`,
      "-device",
      `${device},chardev=${name},name=${name},nr=${number}`,
    ];
  });
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot"],
    ...["-machine", "pc,usb=off", "-cpu", PROCESSOR, "-smp", "1", "-m", String(memoryMiB)],
    // One thread and a clock of instructions: with two, or with the host's clock, QEMU 7.2 hangs now and then.
    ...["-accel", "tcg,thread=single", "-icount", `shift=1,sleep=${clock === "skip idle" ? "off" : "on"}`],
    ...["-kernel", kernelImage, "-initrd", initramfs],
    ...["-append", KERNEL_OPTIONS.join(" ")],
    ...["-serial", `file:${LOG}`, "-device", "virtio-serial-pci,max_ports=8", ...ports],
  ];
}
