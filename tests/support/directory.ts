/** Files that are gone afterwards. */

/** Has a directory for them. @param use gets the path of a name in it, and of the directory for none */
export async function inDirectory(
  use: (path: (name: string) => string) => Promise<void>,
  prefix = "xenolith-test-",
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix });
  try {
    await use((name) => name === "" ? directory : `${directory}/${name}`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
