/** cpio archives in the format "newc": what Linux unpacks as an initramfs (Documentation, early-userspace/buffer-format). */

/** A file, a directory or a symbolic link of an archive. */
export interface CpioEntry {
  /** Without a leading slash. */
  readonly path: string;
  /** File type and permissions, as in stat(2). */
  readonly mode: number;
  /** A file's bytes, or where a link points. */
  readonly bytes: Uint8Array;
}

/** The type bits of a mode. */
export const S_IFDIR = 0o040000, S_IFREG = 0o100000, S_IFLNK = 0o120000;
const S_IFMT = 0o170000;

const MAGIC = "070701", HEADER_BYTES = 110, TRAILER = "TRAILER!!!", MAX_FILE_BYTES = 0xffff_ffff;

const encoder = new TextEncoder(), decoder = new TextDecoder();

/** Writes an archive to `output`, directory by directory as files need them. */
export class CpioWriter {
  readonly #directories = new Set<string>();
  #inode = 0;

  constructor(private readonly output: (bytes: Uint8Array) => void) {}

  /** Adds a directory and those above it, if they are not there yet. */
  directory(path: string): void {
    const clean = path.replace(/^\/+|\/+$/g, "");
    if (clean === "" || this.#directories.has(clean)) return;
    this.#directories.add(clean);
    this.directory(clean.slice(0, Math.max(0, clean.lastIndexOf("/"))));
    this.#entry(clean, S_IFDIR | 0o755, new Uint8Array());
  }

  /** Adds a file. @throws {RangeError} it is too long for the format */
  file(path: string, content: Uint8Array | string, permissions = 0o644): void {
    const bytes = typeof content === "string" ? encoder.encode(content) : content;
    if (bytes.length > MAX_FILE_BYTES) throw new RangeError(`${path}: ${bytes.length} bytes do not fit into cpio`);
    this.#parent(path);
    this.#entry(path.replace(/^\/+/, ""), S_IFREG | permissions, bytes);
  }

  /** Adds a symbolic link. */
  link(path: string, target: string): void {
    this.#parent(path);
    this.#entry(path.replace(/^\/+/, ""), S_IFLNK | 0o777, encoder.encode(target));
  }

  /** Ends the archive. */
  end(): void {
    this.#entry(TRAILER, 0, new Uint8Array());
  }

  #parent(path: string): void {
    this.directory(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
  }

  #entry(path: string, mode: number, bytes: Uint8Array): void {
    const name = encoder.encode(path + "\0");
    // inode, mode, uid, gid, links, time, file size, device (2), special device (2), name size, checksum
    const links = (mode & S_IFMT) === S_IFDIR ? 2 : 1;
    const fields = [++this.#inode, mode, 0, 0, links, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
    const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
    this.output(encoder.encode(header));
    this.output(name);
    this.output(padding(HEADER_BYTES + name.length));
    this.output(bytes);
    this.output(padding(bytes.length));
  }
}

/** The entries of an archive, up to its trailer. @throws {RangeError} the archive is damaged or cut off */
export function readCpio(archive: Uint8Array): CpioEntry[] {
  const entries: CpioEntry[] = [];
  for (let offset = 0;;) {
    const field = (index: number) =>
      parseInt(decoder.decode(archive.subarray(offset + 6 + index * 8, offset + 14 + index * 8)), 16);
    const [mode, fileBytes, nameBytes] = [field(1), field(6), field(11)];
    const start = aligned(offset + HEADER_BYTES + nameBytes);
    if (decoder.decode(archive.subarray(offset, offset + 6)) !== MAGIC || !(start + fileBytes <= archive.length)) {
      throw new RangeError(`no cpio entry at ${offset} of ${archive.length} bytes`);
    }
    const name = archive.subarray(offset + HEADER_BYTES, offset + HEADER_BYTES + nameBytes - 1);
    const path = decoder.decode(name);
    if (path === TRAILER) return entries;
    entries.push({ path, mode, bytes: archive.subarray(start, start + fileBytes) });
    offset = aligned(start + fileBytes);
  }
}

/** Whether the entry is a regular file. */
export function isFile(entry: CpioEntry): boolean {
  return (entry.mode & S_IFMT) === S_IFREG;
}

function aligned(offset: number): number {
  return Math.ceil(offset / 4) * 4;
}

function padding(length: number): Uint8Array {
  return new Uint8Array(aligned(length) - length);
}
