/** qemu-storage-daemon, the vhost-user backend that is not ours. */

import { program } from "./capabilities.ts";

/** The daemon, and what makes images of other formats. */
export const STORAGE_DAEMON = program("qemu-storage-daemon", "qemu-system-common");
export const QEMU_IMG = program("qemu-img", "qemu-utils");

/** How it serves. */
export interface StorageDaemonOptions {
  /** The image's; default "raw". */
  readonly format?: string;
  /** Of the block device that is the file, such as "aio=io_uring". */
  readonly fileOptions?: string;
  /** One request after the other; default: as many at a time as it likes. */
  readonly isSerial?: boolean;
}

/** The daemon's arguments: it serves an image at a socket. */
export function storageDaemonArguments(image: string, socket: string, options: StorageDaemonOptions = {}): string[] {
  const { format = "raw", fileOptions = "aio=threads", isSerial = false } = options;
  return [
    ...isSerial ? ["--object", "main-loop,id=main,thread-pool-max=1"] : [],
    "--blockdev",
    `driver=file,node-name=file,filename=${image},${fileOptions}`,
    "--blockdev",
    `driver=${format},node-name=image,file=file`,
    "--export",
    `type=vhost-user-blk,id=export,node-name=image,addr.type=unix,addr.path=${socket},writable=on`,
  ];
}

/** A daemon that serves an image at a socket. Leaving `await using` kills it. */
export class StorageDaemon implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  private constructor(image: string, readonly socket: string, options: StorageDaemonOptions) {
    this.#child = new Deno.Command("qemu-storage-daemon", {
      args: [
        ...storageDaemonArguments(image, socket, options),
        "--chardev",
        "stdio,id=monitor",
        "--monitor",
        "chardev=monitor",
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
  }

  /** Resolves when it listens: its monitor, which comes after the rest, has said so. */
  static async start(image: string, socket: string, options: StorageDaemonOptions = {}): Promise<StorageDaemon> {
    const daemon = new StorageDaemon(image, socket, options), reader = daemon.#child.stdout.getReader();
    const { done } = await reader.read();
    reader.releaseLock();
    if (done) throw new Error(`qemu-storage-daemon ended with status ${(await daemon.#child.status).code}`);
    return daemon;
  }

  /** It has no time to do anything more. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill().catch(() => {});
    await this.#child.stdin.close().catch(() => {});
    await this.#child.stdout.cancel();
    await Deno.remove(this.socket).catch(() => {}); // which it would have done, had it been asked to end
  }
}
