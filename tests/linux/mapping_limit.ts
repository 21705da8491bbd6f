/**
 * A program for mapping.test.ts: places pages until the host refuses, and gives them all back at once, for V8 does not
 * live long without mappings. Prints the error's message, if it was the right one and the process could go on.
 */

import { Mapping, MappingLimitError } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";

const PAGE = 4096, MOST = 2 ** 21;

/** Places every other page until that is refused, and unmaps them all. */
function refusal(file: MemoryFile): unknown {
  using range = Mapping.reserve(2 * MOST * PAGE, PAGE, "a test");
  try {
    for (let page = 0; page < MOST; page++) range.place(2 * page * PAGE, PAGE, file, 0);
  } catch (error) {
    return error;
  }
}

using file = MemoryFile.create("test", PAGE);
(globalThis as unknown as { gc(): void }).gc(); // so that nothing is collected meanwhile
const error = refusal(file);
if (!(error instanceof MappingLimitError)) throw error;
using range = Mapping.reserve(PAGE, PAGE, "a test");
range.place(0, PAGE, file, 0);
console.log(error.message);
