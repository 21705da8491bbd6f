/** Device models that are part of the program: loaded like any other, but by a name, so that a bundle contains them. */

import type { DeviceModel } from "../dm/model.ts";

const SCHEME = "xenolith:";

const MODELS = {
  "platform": () => import("./platform.ts"),
  "vhost-user-block": () => import("./vhost_user_block.ts"),
  "virtio-block": () => import("./virtio_block.ts"),
  "virtio-console": () => import("./virtio_console.ts"),
  "virtio-entropy": () => import("./virtio_entropy.ts"),
  "virtio-net": () => import("./virtio_net.ts"),
} as const;

/** A model of the program. */
export type BuiltInModel = keyof typeof MODELS;

/** The URL by which a model of the program is asked for. */
export function builtIn(name: BuiltInModel): string {
  return SCHEME + name;
}

/** The model of that URL, or undefined: it is none of the program's. */
export async function loadBuiltIn(url: string): Promise<DeviceModel | undefined> {
  if (!url.startsWith(SCHEME)) return undefined;
  const load = MODELS[url.slice(SCHEME.length) as BuiltInModel];
  return (await load?.())?.default as DeviceModel | undefined;
}
