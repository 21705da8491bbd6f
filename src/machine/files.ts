/** The files that a machine is made of. */

import { type FileSource, UsageError } from "./options.ts";

/** The URL of a path, whatever is in it; a relative one counts from the current directory. */
export function fileUrl(path: string): URL {
  const whole = path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
  return new URL(`file://${whole.split("/").map(encodeURIComponent).join("/")}`);
}

/** The URL of a module by its URL or its path. */
export function moduleUrl(module: string | URL): string {
  return module instanceof URL || /^[a-z]+:/.test(module) ? String(module) : fileUrl(module).href;
}

/** A file in memory. */
export interface LoadedFile {
  /** The last part of its path. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads a file that has to fit into the guest's memory.
 * @param what "image", "initrd": for the message
 * @throws {UsageError} it is missing, unreadable, empty, no regular file, or larger than `limitBytes`
 */
export function loadFile(what: string, source: FileSource, limitBytes: number): LoadedFile {
  if (typeof source === "string" || source instanceof URL) return readFile(what, source, limitBytes);
  checkSize(what, source.name, source.bytes.length, limitBytes);
  return source;
}

function readFile(what: string, path: string | URL, limitBytes: number): LoadedFile {
  try {
    const information = Deno.statSync(path);
    if (!information.isFile) throw new UsageError(`${what} ${path}: not a regular file`);
    checkSize(what, String(path), information.size, limitBytes);
    return { name: String(path).split("/").at(-1)!, bytes: Deno.readFileSync(path) };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${what} ${path}: ${reasonOf(error)}`);
  }
}

function checkSize(what: string, name: string, sizeBytes: number, limitBytes: number): void {
  if (sizeBytes === 0) throw new UsageError(`${what} ${name}: empty`);
  if (sizeBytes <= limitBytes) return;
  throw new UsageError(`${what} ${name}: ${sizeBytes} bytes do not fit into ${limitBytes} bytes of memory`);
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) return "not readable";
  return error instanceof Error ? error.message : String(error);
}
