/** Tests that may open /dev/kvm say so: elsewhere they are skipped, and in the lane they are those that run. */

import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

/** As tools/test_lane.ts looks for them. */
const USES_KVM = /import \{[^}]*\b(ANY_)?KVM\b[^}]*\} from "[./]+support\/capabilities\.ts"/;

interface Module {
  readonly specifier: string;
  readonly dependencies?: readonly { readonly code?: { readonly specifier?: string } }[];
}

function testFiles(directory: URL): string[] {
  return [...Deno.readDirSync(directory)].flatMap(({ name, isDirectory }) =>
    isDirectory
      ? testFiles(new URL(`${name}/`, directory))
      : name.endsWith(".test.ts")
      ? [new URL(name, directory).href]
      : []
  );
}

/** Every module of the tests, with those that it imports. */
async function moduleGraph(files: readonly string[]): Promise<Map<string, string[]>> {
  const all = files.map((file) => `import ${JSON.stringify(file)};`).join("\n");
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "--no-lock", `data:application/typescript,${encodeURIComponent(all)}`],
    cwd: ROOT,
    stderr: "null",
  }).output();
  const { modules }: { modules: Module[] } = JSON.parse(new TextDecoder().decode(stdout));
  return new Map(modules.map(({ specifier, dependencies }) => [
    specifier,
    (dependencies ?? []).flatMap(({ code }) => code?.specifier ?? []),
  ]));
}

Deno.test("every test file that can reach /dev/kvm names the capability KVM or ANY_KVM", async () => {
  const files = testFiles(new URL("tests/", ROOT));
  const graph = await moduleGraph(files);
  const door = new URL("src/kvm/kvm.ts", ROOT).href;
  const reaches = (from: string, seen = new Set<string>()): boolean => {
    if (from === door) return true;
    seen.add(from);
    return (graph.get(from) ?? []).some((to) => !seen.has(to) && reaches(to, seen));
  };
  const reaching = files.filter((file) => reaches(file));
  assert(reaching.length > 10, `${reaching.length} files`);
  const silent = reaching.filter((file) => !USES_KVM.test(Deno.readTextFileSync(new URL(file))));
  assertEquals(
    silent.map((file) => file.slice(ROOT.href.length)).filter((file) => !file.startsWith("tests/lane/")),
    [],
  );
});
