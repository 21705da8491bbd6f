import { assertEquals } from "@std/assert";
import { CpioWriter, isFile, readCpio } from "../../src/lane/cpio.ts";
import { addExecutable } from "../../src/lane/executables.ts";
import { pathOf } from "../../src/lane/programs.ts";
import { program, testWith } from "../support/capabilities.ts";

/** The files that come with an executable, by their paths. */
async function filesOf(place: string, path: string): Promise<Map<string, Uint8Array>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const archive = new CpioWriter((bytes) => chunks.push(bytes.slice()));
  await addExecutable(archive, place, path);
  archive.end();
  const files = readCpio(await new Blob(chunks).bytes()).filter(isFile);
  return new Map(files.map((file) => [`/${file.path}`, file.bytes]));
}

Deno.test("addExecutable() brings the shared libraries, where the dynamic linker looks for them", async () => {
  const files = await filesOf("/elsewhere/deno", Deno.execPath());
  assertEquals(files.get("/elsewhere/deno")?.length, Deno.statSync(Deno.execPath()).size);
  const libraries = [...files.keys()].filter((path) => path !== "/elsewhere/deno");
  const maps = Deno.readTextFileSync("/proc/self/maps");
  const mapped = new Set(maps.match(/\/\S+\/(libc|libm|ld-linux-x86-64)\.so\.\d$/gm));
  const names = (paths: Iterable<string>) => [...paths].map((path) => path.replace(/.*\//, ""));
  assertEquals(names(mapped).filter((name) => !names(libraries).includes(name)), []);
  for (const path of libraries) assertEquals(files.get(path), Deno.readFileSync(path));
});

testWith([program("busybox", "busybox-static")], "addExecutable() brings a static executable alone", async () => {
  const path = pathOf("busybox")!;
  assertEquals(await filesOf("/bin/busybox", path), new Map([["/bin/busybox", Deno.readFileSync(path)]]));
});
