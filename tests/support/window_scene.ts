/** A directed guest with a window and its memory, on both transports and both kinds of carriers. */

import { assertEquals } from "@std/assert";
import type { BootOptions } from "xenolith/testing";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { type Capability, LANE, testWith, USERFAULT } from "./capabilities.ts";
import { DirectedStage, WINDOW, WINDOW_GFN as GFN, WINDOW_PAGES } from "./directed.ts";
import { type PlayedMemory, type PlayedWindows, type TransportName, TRANSPORTS } from "./models/window_played.ts";

export const FRAMES = 8;
/** Frame n of the first memory is full of this and n. */
export const BASE = 0x40;

/** A stage with a window, and its memory. */
export interface Scene {
  readonly stage: DirectedStage;
  readonly memory: PlayedMemory;
  readonly transport: TransportName;
}

export async function bring(windows: PlayedWindows, base = BASE): Promise<PlayedMemory> {
  const memory = await windows.addMemory(FRAMES);
  for (let frame = 0; frame < FRAMES; frame++) {
    memory.bytes.fill(base + frame, frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
  }
  return memory;
}

/** Defines a test for both transports and both kinds of carriers. */
export function testRace(
  capabilities: readonly Capability[],
  name: string,
  options: BootOptions,
  body: (scene: Scene) => Promise<void>,
  only: readonly TransportName[] = TRANSPORTS,
): void {
  for (const transport of only) {
    for (const carrier of carriersFor(transport)) {
      const needs = transport === "fault" ? [...capabilities, USERFAULT] : capabilities;
      testWith(needs, `${name} (${transport}, ${carrier})`, async () => {
        let memory!: PlayedMemory;
        await using stage = await DirectedStage.start({ ...options, carrier }, async (windows) => {
          memory = await bring(windows);
          await windows.mapWindow(WINDOW, WINDOW_PAGES, transport);
        });
        await body({ stage, memory, transport });
      });
    }
  }
}

/** Another KVM below is seen by one carrier for each transport. */
export function carriersFor(transport: TransportName): readonly ("worker" | "native")[] {
  if (LANE) return [transport === "fault" ? "worker" : "native"];
  return ["worker", "native"];
}

export const FAULT_ONLY = ["fault"] as const;

/** How many requests a page that `vcpus` vCPUs wait for is: one a page, or one a vCPU. */
export function requests({ transport }: Scene, vcpus: number): number[] {
  return Array(transport === "fault" ? 1 : vcpus).fill(GFN);
}

export async function endsWell({ stage }: Scene): Promise<void> {
  const { status, reason } = await stage.end(3);
  assertEquals(status, 3, reason);
}
