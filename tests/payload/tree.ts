/** A small tree of sources, and an author's folder beside it, in a temporary directory. */

/** What the tree has. */
const TREE: Readonly<Record<string, string>> = {
  "deno.json": '{ "imports": { "thing/api": "./src/api/mod.ts", "elsewhere": "npm:elsewhere@1" } }',
  "src/api/mod.ts": 'export { twice } from "./twice.ts";\n',
  "src/api/twice.ts": "export function twice(n: number): number {\n  return n * 2;\n}\n",
  "src/devices/bell.ts": 'import { twice } from "../api/twice.ts";\nimport { RINGS } from "./rings.ts";\n\n' +
    "export class Bell {\n  ring(): number {\n    return twice(RINGS);\n  }\n\n  stop(): void {}\n}\n",
  "src/devices/rings.ts": "export const RINGS = 3;\n",
};

/** Files that are gone with it. */
export class Tree implements Disposable {
  readonly #directory = Deno.makeTempDirSync({ prefix: "xenolith-payload-" });
  /** The sources. */
  readonly root = new URL(`file://${this.#directory}/tree/`);
  /** The author's folder, "fix.ts" in it. */
  readonly definition = new URL(`file://${this.#directory}/author/fix.ts`);

  constructor() {
    for (const [path, text] of Object.entries(TREE)) this.write(new URL(path, this.root), text);
  }

  /** Writes a file of the author's. @returns its URL */
  author(path: string, text: string): URL {
    const url = new URL(path, this.definition);
    this.write(url, text);
    return url;
  }

  write(url: URL, text: string): void {
    Deno.mkdirSync(new URL(".", url), { recursive: true });
    Deno.writeTextFileSync(url, text);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#directory, { recursive: true });
  }
}
