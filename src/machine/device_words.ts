/** Virtio devices as the command line has them: words with values and without, none given twice. */

import { parseGrant, UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** What all virtio devices take. A device that follows the interface of before 1.0 is "legacy". */
const COMMON = ["irq=edge|level", "memory=", "legacy"];

/** A word: its key, what it may be, and whether it may be given again. */
interface Word {
  /** Undefined: it has no value; empty: any. */
  readonly choices: readonly string[] | undefined;
  readonly isList: boolean;
}

/** The words of one device. */
export class DeviceWords {
  readonly #known: ReadonlyMap<string, Word>;
  readonly #given = new Map<string, string[]>();

  /**
   * @param device begins the message of a refusal
   * @param keys what it takes beside what all take: "ro", "path=", "format=raw|qcow2", and with "..." several times
   * @throws {UsageError} another word, or one twice, or without its value
   */
  constructor(private readonly device: string, words: readonly string[], keys: readonly string[], common = COMMON) {
    const all = [...keys, ...common];
    this.#known = new Map(all.map(parseKey));
    for (const word of words) {
      const [key, ...rest] = word.split("="), known = this.#known.get(key), value = rest.join("=");
      const hasValue = rest.length > 0;
      if (known === undefined || hasValue !== (known.choices !== undefined)) throw this.refusal(word, all.join(", "));
      if (hasValue && value === "") throw this.empty(key);
      const { choices = [], isList } = known, given = this.#given.get(key) ?? [];
      if (choices.length > 0 && !choices.includes(value)) throw this.refusal(word, `${key}=${choices.join("|")}`);
      if (given.length > 0 && !isList) throw new UsageError(`${device}: ${key} given twice`);
      this.#given.set(key, [...given, value]);
    }
  }

  /** Whether a word of this key is one of a device's own, or of all. */
  static isCommon(word: string): boolean {
    return COMMON.map(parseKey).some(([key]) => key === word.split("=")[0]);
  }

  /** Whether a word was given. */
  has(key: string): boolean {
    return this.#given.has(key);
  }

  /** All values of a key, in their order. */
  all(key: string): readonly string[] {
    return this.#given.get(key) ?? [];
  }

  /** The value of a key that has to be given. @throws {UsageError} */
  one(key: string): string {
    const [value] = this.all(key);
    if (value === undefined) throw new UsageError(`${this.device}: ${key}= is missing`);
    return value;
  }

  /** What all virtio devices have in common, as far as it was given. @throws {UsageError} no ranges of memory */
  get common(): VirtioDeviceOptions {
    return {
      ...this.has("legacy") && { legacy: true },
      ...this.has("irq") && { trigger: this.one("irq") as "edge" | "level" },
      ...this.has("memory") && { memory: parseGrant(this.one("memory")) },
    };
  }

  /** A word whose value is missing. */
  empty(key: string): UsageError {
    return new UsageError(`${this.device}: ${key}= needs a value`);
  }

  /** A word that says nothing. */
  refusal(word: string, otherwise: string): UsageError {
    return new UsageError(`${this.device}: ${word} is not ${otherwise}`);
  }
}

function parseKey(text: string): [key: string, word: Word] {
  const [, key, value, list] = /^(\w+)(?:=([\w|]*))?(\.\.\.)?$/.exec(text)!;
  return [key, { choices: value === undefined ? undefined : value === "" ? [] : value.split("|"), isList: !!list }];
}
