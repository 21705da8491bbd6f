/** The file that reads are measured with. */

const FILE_BYTES = 64 << 20;

/** Makes one of 64 MiB, all of whose pages are there, and in the page cache: reads of holes cost less. @returns its path */
export async function makeDisk(): Promise<string> {
  const file = await Deno.makeTempFile({ prefix: "xenolith-bench-" });
  using output = await Deno.open(file, { write: true });
  const bytes = new Uint8Array(1 << 20).fill(0x5a);
  for (let done = 0; done < FILE_BYTES; done += bytes.length) {
    for (let at = 0; at < bytes.length;) at += await output.write(bytes.subarray(at));
  }
  return file;
}
