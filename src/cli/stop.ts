/** `run --stop`: asks the guest of another run to power off, by that run's control socket. */

import { STATUS } from "../domain/outcome.ts";
import { say } from "./failure.ts";

/** @param path of the control socket @returns the exit status: 0 the guest is asked, 69 there is no such run, or it is over */
export async function requestPowerOff(path: string): Promise<number> {
  let answer: { readonly error?: string };
  try {
    using connection = await Deno.connect({ transport: "unix", path });
    const request = { execute: "request-shutdown", reason: "poweroff" };
    await connection.write(new TextEncoder().encode(JSON.stringify(request) + "\n"));
    answer = JSON.parse(await firstLine(connection));
  } catch (error) {
    return failed(path, (error as Error).message);
  }
  return answer.error === undefined ? STATUS.OK : failed(path, answer.error);
}

function failed(path: string, why: string): number {
  say(`--stop ${path}: ${why}`);
  return STATUS.HOST;
}

/** @throws {Error} the other end has gone without having said one */
async function firstLine(connection: Deno.UnixConn): Promise<string> {
  let text = "";
  for await (const chunk of connection.readable.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
  throw new Error("the run has ended");
}
