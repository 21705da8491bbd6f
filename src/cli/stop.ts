/** `run --stop`: asks the guest of another run to power off, by that run's control socket. */

import { STATUS } from "../domain/outcome.ts";
import { ControlClient } from "./control_client.ts";
import { say } from "./failure.ts";

/** @param path of the control socket @returns the exit status: 0 the guest is asked, 69 there is no such run, or it is over */
export async function requestPowerOff(path: string): Promise<number> {
  try {
    using client = await ControlClient.connect(path);
    await client.execute("request-shutdown", { reason: "poweroff" });
    return STATUS.OK;
  } catch (error) {
    say(`--stop ${path}: ${(error as Error).message}`);
    return STATUS.HOST;
  }
}
