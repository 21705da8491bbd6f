/** What Linux says of this process: mappings, threads, memory, descriptors. */

/** The mappings that touch [address, address + sizeBytes), one line of /proc/self/maps each. */
export function mappingsIn(address: bigint, sizeBytes: number): { start: bigint; end: bigint; line: string }[] {
  return Deno.readTextFileSync("/proc/self/maps").trim().split("\n").map((line) => {
    const [start, end] = line.split(" ", 1)[0].split("-").map((number) => BigInt(`0x${number}`));
    return { start, end, line };
  }).filter(({ start, end }) => start < address + BigInt(sizeBytes) && end > address);
}

/** Whether the thread sleeps in the system call with this number. */
export function sleepsIn(thread: number, call: number): boolean {
  const [number] = Deno.readTextFileSync(`/proc/self/task/${thread}/syscall`).split(" ", 1);
  return number === String(call);
}

/**
 * By how much resident memory grows when `make` makes something, in bytes: the least of several times, since the
 * engine's own threads take and return megabytes when they like.
 */
export function residentGrowth(make: () => Disposable): number {
  const growths = Array.from({ length: 7 }, () => {
    const before = residentBytes();
    using _made = make();
    return residentBytes() - before;
  });
  return Math.min(...growths);
}

function residentBytes(): number {
  const kibibytes = /^Rss:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/smaps_rollup"))![1];
  return Number(kibibytes) * 1024;
}

/** Open descriptors of this process, by what they are: "/memfd:name (deleted)", "anon_inode:[eventfd]". */
export function openDescriptors(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      return [Deno.readLinkSync(`/proc/self/fd/${name}`)];
    } catch {
      return []; // the descriptor of the listing itself
    }
  }).filter((target) => !target.startsWith("/proc/"));
}
