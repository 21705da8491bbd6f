/** Reads of a virtio disk that is our model's, against one that qemu-storage-daemon serves: same guest, same file. */

import { makeDisk } from "./disk_image.ts";
import { alternate, benchmark, median, missing, round } from "./harness.ts";
import { type Kind, ofEach, readingAll, type Run, runGuest } from "./virtio_bench.ts";
import { STORAGE_DAEMON, StorageDaemon } from "../../tests/support/storage_daemon.ts";

export const storageDaemon = benchmark({
  figures: {
    blk_vs_qsd: {
      what: "4 KiB reads a second, 32 at a time, from our disk against qemu-storage-daemon's; more is better",
    },
    blk_vs_qsd_each: { what: "the same for each kind of read" },
    blk_qsd_us: { what: "such a read from qemu-storage-daemon, us" },
  },
  async measure({ quick }) {
    if (!STORAGE_DAEMON.present) {
      missing(`no comparison with qemu-storage-daemon: ${STORAGE_DAEMON.reason}`);
      return { blk_vs_qsd: null, blk_vs_qsd_each: null, blk_qsd_us: null };
    }
    const file = await makeDisk(), socket = `${file}.sock`, cmdline = readingAll(quick);
    try {
      const [our, their] = await alternate(
        quick ? 1 : 7,
        () => runGuest(["--disk", file], cmdline),
        () => served(file, socket, cmdline),
      );
      const times = (runs: Run[], kind: Kind) => runs.map(({ us }) => us[kind]);
      const ratios = ofEach((kind) => {
        const theirs = times(their, kind);
        return round(median(times(our, kind).map((us, index) => theirs[index] / us)), 3)!;
      });
      return {
        blk_vs_qsd: ratios.qd32,
        blk_vs_qsd_each: ratios,
        blk_qsd_us: ofEach((kind) => round(median(times(their, kind)), 1)!),
      };
    } finally {
      await Deno.remove(file);
    }
  },
});

/** It reads as we do: through the page cache, by io_uring. It holds the file only while it serves. */
async function served(file: string, socket: string, cmdline: string): Promise<Run> {
  await using _daemon = await StorageDaemon.start(file, socket, { fileOptions: "aio=io_uring" });
  return await runGuest(["--vhost-user-blk", socket], cmdline);
}
