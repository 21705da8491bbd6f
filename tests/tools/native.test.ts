import { assertEquals } from "@std/assert";
import { AssemblerMissingError, generate, NATIVE_CODE } from "../../tools/native.ts";

/** The generated text, or undefined where it cannot be made. */
async function generated(code: typeof NATIVE_CODE[number]): Promise<string | undefined> {
  try {
    return await generate(code);
  } catch (error) {
    if (error instanceof AssemblerMissingError) return undefined;
    throw error;
  }
}

for (const code of NATIVE_CODE) {
  const text = await generated(code);
  const reason = text === undefined ? " (skipped: nasm is not installed)" : "";
  Deno.test({
    name: `${code.generated} is what ${code.source} assembles to${reason}`,
    ignore: text === undefined,
    async fn() {
      assertEquals(text, await Deno.readTextFile(new URL(`../../${code.generated}`, import.meta.url)));
    },
  });
}
