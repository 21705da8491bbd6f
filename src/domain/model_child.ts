/** The process of a device model as the domain sees it: started, killed, and what it has said last. */

import { kill, PERMISSIONS } from "./child_process.ts";
import { IN_TURN, LOADED, MODEL_PROCESS } from "./process_words.ts";
import type { ProcessSpecification } from "./specification.ts";

/** How one has ended. */
export interface ModelEnd {
  readonly code: number;
  readonly signal: Deno.Signal | null;
  /** Why, in its own words; empty, if it had no time for any. */
  readonly words: string;
}

/** One that runs, or has run. */
export class ModelChild {
  readonly #child: Deno.ChildProcess;
  readonly #loaded = Promise.withResolvers<boolean>();
  /** Never rejects. */
  readonly ended: Promise<ModelEnd>;

  /** @param socket where it connects @param url of the program that it is of @param inTurn whether it takes over from another */
  constructor({ module, configuration }: ProcessSpecification, socket: string, url: string, inTurn: boolean) {
    const model = [MODEL_PROCESS, module, socket, JSON.stringify(configuration), ...inTurn ? [IN_TURN] : []];
    // A group of its own: the terminal's Ctrl-C is for the hypervisor, which ends the rest in its order.
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", ...PERMISSIONS, url, ...model],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
      detached: true,
    }).spawn();
    this.ended = this.#end();
  }

  /** Resolves when one that takes over has loaded its code. @returns false it has ended instead */
  get loaded(): Promise<boolean> {
    return this.#loaded.promise;
  }

  /** Its state lies with the server, in an order in which it may die at any moment: there is no gentler way. */
  kill(): void {
    kill(this.#child);
  }

  async #end(): Promise<ModelEnd> {
    const [words, { code, signal }] = await Promise.all([this.#listen(), this.#child.status]);
    return { code, signal, words };
  }

  async #listen(): Promise<string> {
    let said = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      said += text;
      if (said.startsWith(LOADED)) this.#loaded.resolve(true);
    }
    this.#loaded.resolve(false);
    return (said.startsWith(LOADED) ? said.slice(LOADED.length) : said).trimEnd();
  }
}
