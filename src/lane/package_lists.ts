/** apt's package lists: the host's, or another release's in a private directory. */

import { LaneUnavailable } from "./errors.ts";
import { run } from "./programs.ts";

const SOURCES = "/etc/apt/sources.list", SOURCES_DIRECTORY = "/etc/apt/sources.list.d";

/** A set of package lists. */
export interface PackageLists {
  /** The first dependency of `name` that matches, or undefined when the lists do not have it. */
  dependency(name: string, pattern: RegExp): Promise<string | undefined>;
  /** Downloads a package's file into `directory`. @throws {LaneUnavailable} it cannot be had */
  download(name: string, directory: string): Promise<void>;
}

/** The lists that apt uses on this host. */
export function hostLists(): PackageLists {
  return listsWith([]);
}

/** The lists of another release of Debian, fetched from where the host's own come from, into `directory`. */
export async function suiteLists(suite: string, directory: string): Promise<PackageLists> {
  const codename = /^VERSION_CODENAME=(\w+)/m.exec(readText("/etc/os-release"))?.[1];
  if (codename === undefined) throw new LaneUnavailable("/etc/os-release names no release of Debian");
  const sources = aptSources().map((text) => otherSuite(text, codename, suite)).filter((text) => text !== "");
  if (sources.length === 0) throw new LaneUnavailable(`apt's sources name no suite ${codename} to replace by ${suite}`);
  for (const path of ["sources.d", "state/lists/partial", "cache/archives/partial"]) {
    Deno.mkdirSync(`${directory}/${path}`, { recursive: true });
  }
  sources.forEach((text, index) => {
    const suffix = text.startsWith("deb ") ? "list" : "sources";
    Deno.writeTextFileSync(`${directory}/sources.d/${index}.${suffix}`, text);
  });
  const options = Object.entries({
    "Dir::Etc::SourceList": "/dev/null",
    "Dir::Etc::SourceParts": `${directory}/sources.d`,
    "Dir::State": `${directory}/state`,
    "Dir::State::Status": "/dev/null",
    "Dir::Cache": `${directory}/cache`,
    "Acquire::Languages": "none",
  }).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const { success, complaint } = await run("apt-get", [...options, "update", "-qq"]);
  if (!success) throw new LaneUnavailable(`apt-get update for ${suite}: ${complaint}`);
  return listsWith(options);
}

/**
 * The entries of a source list that are `from`, its updates or its security suite, with the suite replaced.
 * @param text a sources.list(5) file of either style
 */
export function otherSuite(text: string, from: string, to: string): string {
  const pattern = new RegExp(`^${from}(?=-updates$|-security$|/|$)`);
  const replaced = (suites: string[]) =>
    suites.filter((suite) => pattern.test(suite)).map((suite) => suite.replace(pattern, to));
  const lines = text.split("\n").map((line) => line.trim()).filter((line) => !line.startsWith("#"));
  const oneLine = lines.flatMap((line) => {
    const match = /^(deb\s+(?:\[[^\]]*\]\s+)?\S+)\s+(\S+)\s+(.*)$/.exec(line);
    return match === null ? [] : replaced([match[2]]).map((suite) => `${match[1]} ${suite} ${match[3]}\n`);
  });
  const stanzas = lines.join("\n").split(/\n\n+/).flatMap((stanza) => {
    const suites = replaced(/^Suites:\s*(.*)$/mi.exec(stanza)?.[1].split(/\s+/) ?? []);
    return suites.length === 0 ? [] : [stanza.trim().replace(/^Suites:.*$/mi, `Suites: ${suites.join(" ")}`) + "\n"];
  });
  return [...oneLine, ...stanzas].join("\n");
}

function listsWith(options: readonly string[]): PackageLists {
  return {
    async dependency(name, pattern) {
      const { stdout } = await run("apt-cache", [...options, "depends", name]);
      const names = stdout.split("\n").map((line) => /^\s*Depends:\s*(\S+)/.exec(line)?.[1]);
      return names.find((dependency) => dependency !== undefined && pattern.test(dependency));
    },
    async download(name, directory) {
      const { success, complaint } = await run("apt-get", [...options, "download", "-qq", name], { cwd: directory });
      if (!success) throw new LaneUnavailable(`apt-get download ${name}: ${complaint}`);
    },
  };
}

/** The texts of all source lists. */
function aptSources(): string[] {
  const parts = [...Deno.readDirSync(SOURCES_DIRECTORY)].map(({ name }) => `${SOURCES_DIRECTORY}/${name}`);
  return [SOURCES, ...parts.filter((path) => /\.(list|sources)$/.test(path)).sort()].map(readText);
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
