/** Reads of a virtio disk by a guest that does nothing else, against the same guest and the same file under QEMU. */

import { makeDisk } from "./disk_image.ts";
import { alternate, benchmark, median, missing, round } from "./harness.ts";
import { isQemuInstalled, QEMU_MISSING, startQemu } from "./qemu_program.ts";
import { IMAGE, type Kind, ofEach, readingAll, readsOf, type Run, runGuest, timesOf } from "./virtio_bench.ts";

export const virtioDisk = benchmark({
  figures: {
    blk_qd1_vs_qemu: { what: "4 KiB reads a second, one by one, against QEMU's; more is better" },
    blk_qd32_vs_qemu: { what: "the same, 32 at a time" },
    blk_seq_vs_qemu: { what: "1 MiB reads a second, one behind the other, against QEMU's" },
    blk_us: { what: "such a read, us" },
    blk_qemu_us: { what: "the same under QEMU, us" },
    exits_per_request_qd32: { what: "exits to user space for a 4 KiB read, 32 at a time" },
  },
  async measure({ quick }) {
    const file = await makeDisk();
    try {
      const isCompared = await isQemuInstalled(), cmdline = readingAll(quick);
      const runs = [() => runGuest(["--disk", file], cmdline), ...isCompared ? [() => theirs(file, cmdline)] : []];
      const [our, their = []] = await alternate(quick ? 1 : 7, ...runs);
      const middle = (runs: Run[], kind: Kind) => round(median(runs.map(({ us }) => us[kind])), 1)!;
      const ratio = (kind: Kind) =>
        isCompared ? round(median(our.map(({ us }, index) => their[index].us[kind] / us[kind])), 3) : null;
      if (!isCompared) missing(QEMU_MISSING);
      return {
        blk_qd1_vs_qemu: ratio("qd1"),
        blk_qd32_vs_qemu: ratio("qd32"),
        blk_seq_vs_qemu: ratio("seq"),
        blk_us: ofEach((kind) => middle(our, kind)),
        blk_qemu_us: isCompared ? ofEach((kind) => middle(their, kind)) : null,
        exits_per_request_qd32: round(await exitsPerRead(file, readsOf("qd32", quick)), 4),
      };
    } finally {
      await Deno.remove(file);
    }
  },
});

/** Both read through the page cache, by io_uring; QEMU's disk has a thread of its own, as ours has a process. */
async function theirs(file: string, cmdline: string): Promise<Run> {
  const drive = `if=none,id=disk,file=${file},format=raw,cache=writeback,aio=io_uring`;
  const device = "virtio-blk-pci,drive=disk,disable-legacy=on,iothread=own";
  const options = ["-object", "iothread,id=own", "-drive", drive, "-device", device];
  const { stdout } = await startQemu(IMAGE, cmdline, options).output();
  return { us: timesOf(stdout), exits: NaN };
}

/** The slope between a run of many reads and one of few, which has all else. */
async function exitsPerRead(file: string, many: number): Promise<number> {
  const few = 32, exits = async (reads: number) => (await runGuest(["--disk", file], `qd32=${reads}`)).exits;
  return Math.max(0, await exits(many) - await exits(few)) / (many - few);
}
