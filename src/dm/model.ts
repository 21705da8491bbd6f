/** The shape of a device model's module. */

import type { DeviceModelHost } from "./host.ts";

/** The default export of a device model's module. @param configuration whatever was given with the module; cloned */
export type DeviceModel = (host: DeviceModelHost, configuration: unknown) => void | Promise<void>;

/** Loads a device model's module. @throws {TypeError} it has no default function */
export async function loadModel(url: string): Promise<DeviceModel> {
  const module: { default?: unknown } = await import(url);
  if (typeof module.default === "function") return module.default as DeviceModel;
  throw new TypeError(`${url} has no default export that is a function`);
}
