/** The sources that the program runs: what they were at its start, and whether they are that still. */

import { EINVAL } from "../linux/errno.ts";
import { PayloadError } from "./payload_error.ts";
import { buildIdOf } from "./source_tree.ts";

/** Remembers them; what is linked into a generation's tree comes from the disk, and may have been edited meanwhile. */
export class RunningSources {
  /**
   * The build-id of what runs.
   * @throws {PayloadError} EOPNOTSUPP: the program is a bundle
   */
  readonly buildId: Promise<string>;

  /** @param root a directory, with a slash at its end: it is read at once */
  constructor(private readonly root: URL) {
    this.buildId = buildIdOf(root);
    this.buildId.catch(() => {}); // whoever asks for it hears of it
  }

  /** @throws {PayloadError} EINVAL: they are others by now */
  async requireUnchanged(): Promise<void> {
    const running = await this.buildId, now = await buildIdOf(this.root).catch(() => "none"); // half of them may be there
    if (now === running) return;
    const folder = decodeURIComponent(new URL("src", this.root).pathname);
    throw new PayloadError(EINVAL, `${folder} is not what the program was started from: it has been edited since`);
  }
}
