/** What is said of an operation that is refused. */

import { assertEquals, assertRejects } from "@std/assert";
import { errnoName } from "../../src/linux/errno.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";

/** In one line, which has nothing of where generations lie. @param message a part of it, or what it is like */
export async function refused(operation: Promise<unknown>, errno: number, message: string | RegExp): Promise<void> {
  const error = await assertRejects(() => operation, PayloadError), { message: said } = error;
  const isAsked = typeof message === "string" ? said.includes(message) : message.test(said);
  assertEquals([errnoName(error.errno), isAsked], [errnoName(errno), true], said);
  assertEquals([said.includes("\n"), said.includes("xenolith-generations")], [false, false]);
}
