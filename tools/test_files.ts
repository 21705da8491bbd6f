/** The test files, and how they are divided among processes that run at the same time. */

const ROOT = new URL("../", import.meta.url).pathname;

/** All below a folder but those below one of `without`. @param folder from the repository's root, as all paths here */
export function testFiles(folder: string, without?: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return path === without ? [] : testFiles(path, without);
    return name.endsWith(".test.ts") ? [path] : [];
  }).sort();
}

/** Dealt like cards, so that the files of one folder, which are alike, are spread evenly. @param most files to a batch */
export function batchesOf(paths: readonly string[], most: number): string[][] {
  const count = Math.ceil(paths.length / most);
  return Array.from({ length: count }, (_, index) => paths.filter((_, position) => position % count === index));
}

/** Does all jobs, so many at a time, in their order. @returns their results */
export async function inTurns<Result>(jobs: readonly (() => Promise<Result>)[], atOnce: number): Promise<Result[]> {
  const queue = jobs.entries();
  const results: Result[] = [];
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (const [index, job] of queue) results[index] = await job();
  }));
  return results;
}
