import { assertEquals } from "@std/assert";
import { commandScript } from "../../src/lane/init.ts";

Deno.test("commandScript() hands every argument and variable on as it is", async () => {
  const words = ["it's", "$HOME `date` \\", 'a "b"', "", "two\nlines", "*"];
  const script = commandScript(["printf", "%s|", ...words], "/", { VARIABLE: "x 'y' $z" })
    .replace("echo $$ >/lane/pid", 'printf "%s|" "$VARIABLE"');
  const { stdout } = await new Deno.Command("sh", { args: ["-c", script] }).output();
  assertEquals(new TextDecoder().decode(stdout), ["x 'y' $z", ...words].map((word) => `${word}|`).join(""));
});
