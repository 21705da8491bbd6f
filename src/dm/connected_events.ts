/** The eventfds of one device model that KVM signals, or that signal interrupts. */

import type { Descriptor } from "../linux/descriptor.ts";
import { EOPNOTSUPP } from "../linux/errno.ts";
import { eventDescriptor } from "../linux/event_descriptor.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import type { Attachment } from "./attachment.ts";
import type { EventWrite, LineEvents } from "./host.ts";

/** Made here, connected by the hypervisor. They live as long as the model. */
export class ConnectedEvents implements Disposable {
  readonly #events = new DisposableStack();

  constructor(private readonly attachment: Pick<Attachment, "connectWrite" | "connectLine">) {}

  /** See {@linkcode DeviceModelHost.connectWrite}. */
  connectWrite(write: EventWrite): number | undefined {
    return this.#connect((stack) => {
      const { number } = this.#create(stack, "eventfd of a write");
      this.attachment.connectWrite(write, number);
      return number;
    });
  }

  /** See {@linkcode DeviceModelHost.connectLine}. */
  connectLine(gsi: number, trigger: "edge" | "level"): LineEvents | undefined {
    return this.#connect((stack) => {
      const raise = this.#create(stack, `eventfd of GSI ${gsi}`).number;
      const ended = trigger === "level" ? this.#create(stack, `eventfd of GSI ${gsi}'s end`).number : undefined;
      this.attachment.connectLine(gsi, raise, ended);
      return { raise, ended };
    });
  }

  [Symbol.dispose](): void {
    this.#events.dispose();
  }

  #create(stack: DisposableStack, subject: string): Descriptor {
    return stack.use(eventDescriptor(subject, false));
  }

  /** Without this host's help the model does what it did before there were eventfds. */
  #connect<T>(connect: (stack: DisposableStack) => T): T | undefined {
    using stack = new DisposableStack();
    try {
      const connected = connect(stack);
      this.#events.use(stack.move());
      return connected;
    } catch (error) {
      if (error instanceof DmOpError && error.errno === EOPNOTSUPP) return undefined;
      throw error;
    }
  }
}
