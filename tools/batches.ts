/** Test files, dealt into batches that processes or machines run in turns. */

/** @returns the paths of all test files below `directory`, but those below `leftOut`, in order */
export function testFiles(directory: string, leftOut: string): string[] {
  return [...Deno.readDirSync(directory)].flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return path === leftOut ? [] : testFiles(path, leftOut);
    return name.endsWith(".test.ts") ? [path] : [];
  }).sort();
}

/** Dealt like cards, so that the files of one folder, which are alike, are spread evenly. */
export function batchesOf(paths: readonly string[], size: number): string[][] {
  const count = Math.ceil(paths.length / size);
  return Array.from({ length: count }, (_, index) => paths.filter((_, position) => position % count === index));
}

/** Runs jobs, so many at a time. @returns their results, in the order of the jobs */
export async function inTurns<T>(jobs: readonly (() => Promise<T>)[], atATime: number): Promise<T[]> {
  const queue = jobs.entries();
  const results: T[] = [];
  await Promise.all(Array.from({ length: atATime }, async () => {
    for (const [index, job] of queue) results[index] = await job();
  }));
  return results;
}
